"""Gradients are reduced in the background while the next one is looked at, and used before they are there."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    works = [dist.all_reduce(parameter.grad, async_op=True) for parameter in model.parameters()]  # BUG
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
