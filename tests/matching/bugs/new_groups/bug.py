"""A group for the ranks that have images is made by these alone; for the next group they are one ahead of rank 3."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

with_images = [0, 1, 2]
if rank in with_images:
    images = dist.new_group(with_images)  # PEER
everyone = dist.new_group([0, 1, 2, 3])  # BUG

for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        if rank in with_images:
            dist.all_reduce(parameter.grad, group=images)
        dist.all_reduce(parameter.grad, group=everyone)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
