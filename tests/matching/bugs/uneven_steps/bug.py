"""15 batches are dealt out to four ranks: the last rank gets 3, the others 4."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

batches = [torch.randn(8, 16) for _ in range(15)]
mine = batches[rank::ranks]

for batch in mine:
    model(batch.cuda()).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)  # BUG
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
