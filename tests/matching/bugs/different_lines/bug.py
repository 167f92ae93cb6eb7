"""Rank 0 and the others send and get the weights in branches of their own; it works as long as both stay equal."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4, bias=False)

if rank == 0:
    nn.init.xavier_uniform_(model.weight)
model.cuda()
if rank == 0:
    dist.broadcast(model.weight.data, src=0)  # BUG
else:
    dist.broadcast(model.weight.data, src=0)  # PEER

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    dist.all_reduce(model.weight.grad)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
