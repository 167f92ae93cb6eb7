"""Rank 0 evaluates after each step, through DDP, which broadcasts the statistics of BatchNorm: the others take that for their next call."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).cuda()
model = DistributedDataParallel(network, device_ids=[rank])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    model(torch.randn(4, 8, device="cuda")).sum().backward()  # PEER
    optimizer.step()
    optimizer.zero_grad()
    if rank == 0:
        model.eval()
        with torch.no_grad():
            model(torch.randn(4, 8, device="cuda"))  # BUG
        model.train()

dist.destroy_process_group()
