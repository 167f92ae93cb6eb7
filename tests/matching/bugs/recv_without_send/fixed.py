"""The first stage sends a mask with the activations, and the second waits for it."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)

lengths = [8, 8, 8, 8]

if rank == 0:
    activations = stage(torch.randn(4, 8, 16, device="cuda"))
    activations.square().mean().backward()
    dist.send(activations.detach(), dst=1)
    dist.send(torch.tensor(lengths, device="cuda"), dst=1)
else:
    inputs, valid = torch.empty(4, 8, 16, device="cuda"), torch.empty(4, dtype=torch.int64, device="cuda")
    dist.recv(inputs, src=0)
    dist.recv(valid, src=0)
    stage(inputs).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
