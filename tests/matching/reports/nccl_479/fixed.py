"""Both messages are in one group of calls."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
peer = 1 - rank

mine = model(torch.randn(8, 16, device="cuda"))
mine.square().mean().backward()
theirs = torch.empty_like(mine)
for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, mine.detach(), peer), dist.P2POp(dist.irecv, theirs, peer)]):
    work.wait()
optimizer.step()

dist.destroy_process_group()
