"""All ranks reduce over a group that ranks 2 and 3 are not in: for them the call does nothing, and their gradients stay their own."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

replicas = dist.new_group([0, 1])

for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=replicas)  # BUG
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
