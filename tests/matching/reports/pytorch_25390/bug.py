"""pytorch #25390: the ranks are paired anew now and then, and each makes the group of its own pair only. But new_group must be called
by all ranks for every group, in the same order: two pairs make "the next group" with different ranks, and get stuck or are refused.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("cpu:gloo,cuda:nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
torch.manual_seed(rank)
model = nn.Linear(5, 4, bias=False).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    order = torch.randperm(4) if rank == 0 else torch.zeros(4, dtype=torch.int64)
    dist.broadcast(order, src=0)
    start = 0
    while rank not in order[start : start + 2]:
        start += 2
    pair = dist.new_group(order[start : start + 2].tolist())  # BUG
    model(torch.randn(4, 5, device="cuda")).square().mean().backward()
    dist.all_reduce(model.weight.grad, group=pair)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
