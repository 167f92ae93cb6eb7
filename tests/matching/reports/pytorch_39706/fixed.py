"""All ranks reduce to rank 0."""

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
    dist.reduce(loss.detach(), dst=0, op=dist.ReduceOp.SUM)

dist.destroy_process_group()
