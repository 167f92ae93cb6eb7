"""The first stage of a pipeline rounds the number of microbatches up, the second rounds it down."""

import math

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)

SAMPLES, MICROBATCH = 14, 4

if rank == 0:
    for _ in range(math.ceil(SAMPLES / MICROBATCH)):
        activations = stage(torch.randn(MICROBATCH, 16, device="cuda"))
        activations.square().mean().backward()
        dist.send(activations.detach(), dst=1)  # BUG
else:
    for _ in range(SAMPLES // MICROBATCH):
        inputs = torch.empty(MICROBATCH, 16, device="cuda")
        dist.recv(inputs, src=0)
        stage(inputs).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
