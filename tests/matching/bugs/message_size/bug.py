"""The first stage cuts the padding off and sends what is left; the second has made room for the longest sequence."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)

LENGTHS = (32, 24)  # by batch

for length in LENGTHS:
    if rank == 0:
        activations = stage(torch.randn(4, length, 16, device="cuda"))
        activations.square().mean().backward()
        dist.send(activations.detach(), dst=1)  # BUG
    else:
        inputs = torch.empty(4, max(LENGTHS), 16, device="cuda")
        dist.recv(inputs, src=0)  # PEER
        stage(inputs).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
