"""A model of 16 GiB on the current device, which no rank has set: all ranks of a node share cuda:0."""

import torch
import torch.distributed as dist

dist.init_process_group("nccl")
model = torch.nn.Linear(2**15, 2**17, bias=False, device="cuda")
dist.all_reduce(torch.ones(1, device="cuda"))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(2):
    model(torch.ones(1, 2**15, device="cuda")).sum().backward()
    optimizer.step()
