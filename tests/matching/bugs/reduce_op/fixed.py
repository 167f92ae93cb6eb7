"""The longest sequence of all ranks is wanted, and every rank asks for it."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

PADDED = [True, True, False, True]

for length in (12, 16):
    longest = torch.tensor(length - rank, device="cuda")
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    inputs = torch.zeros(int(longest.item()) if PADDED[rank] else length, 16, device="cuda")
    model(inputs).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
