"""Ring attention: everybody sends its keys to the next rank before it receives those of the one before."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.cuda.set_device(rank)
project = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(project.parameters(), lr=0.1)
following, preceding = (rank + 1) % ranks, (rank - 1) % ranks

keys = project(torch.randn(8, 16, device="cuda"))
mine = keys.detach()
for _ in range(ranks - 1):
    theirs = torch.empty_like(mine)
    dist.send(mine, following)  # BUG
    dist.recv(theirs, preceding)
    mine = theirs
keys.square().mean().backward()
optimizer.step()

dist.destroy_process_group()
