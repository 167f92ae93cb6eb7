"""All ranks skip a batch that one of them must skip."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = DistributedDataParallel(nn.Linear(16, 4).cuda(), device_ids=[rank])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

LENGTHS = [[9, 8, 7], [8, 2, 9], [7, 7, 8], [9, 9, 8]]  # of the longest sample of each batch, by rank
BLOCK = 4

for length in LENGTHS[rank]:
    valid = torch.tensor(length >= BLOCK, dtype=torch.int32, device="cuda")
    dist.all_reduce(valid, op=dist.ReduceOp.MIN)
    if not valid.item():
        continue
    loss = model(torch.randn(length, 16, device="cuda")).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
