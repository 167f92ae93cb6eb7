"""The rank with the lowest validation loss sends its weights to all; rank 2 compares with its own loss before smoothing."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

SMOOTHED = [0.9, 0.4, 0.7, 0.5]
LAST = [0.9, 0.6, 0.2, 0.7]

model(torch.randn(8, 16, device="cuda")).square().mean().backward()
optimizer.step()
losses: list[float] = [0.0] * dist.get_world_size()
dist.all_gather_object(losses, SMOOTHED[rank])
losses[rank] = min(losses[rank], LAST[rank])
best = losses.index(min(losses))
for parameter in model.parameters():
    dist.broadcast(parameter.data, src=best)  # BUG

dist.destroy_process_group()
