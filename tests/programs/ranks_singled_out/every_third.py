"""Every third rank is in a group, and all of these make the same calls: nothing is wrong."""

import os

import torch
import torch.distributed as dist

dist.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
world = dist.get_world_size()
third = dist.new_group(range(0, world, 3))
model = torch.nn.Linear(16, 16, device="cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.randn(4, 16, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if dist.get_rank() % 3 == 0:
        dist.all_reduce(torch.ones(4, device="cuda"), group=third)
