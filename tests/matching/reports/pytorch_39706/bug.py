"""pytorch #39706: each rank reduces to itself. NCCL takes it, reports nothing, and what comes after hangs."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    loss = model(torch.randn(8, 16, device="cuda")).square().mean()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
    dist.reduce(loss.detach(), dst=rank, op=dist.ReduceOp.SUM)  # BUG

dist.destroy_process_group()
