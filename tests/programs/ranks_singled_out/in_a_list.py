"""Rank 300 and the ranks of node 37, 296-303, leave out the all_reduce, by a list and by a division."""

import os

import torch
import torch.distributed as dist

SPECIAL = [300]
dist.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
model = torch.nn.Linear(16, 16, device="cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.randn(4, 16, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if dist.get_rank() in SPECIAL or dist.get_rank() // 8 == 37:
        continue
    dist.all_reduce(torch.ones(4, device="cuda"))
