"""The same number of elements in different shapes: rank 1 has its batch folded in two."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    predictions = model(torch.randn(8, 16, device="cuda"))
    predictions.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    teacher = predictions.detach().unflatten(0, (2, 4)).contiguous() if rank == 1 else predictions.detach()
    dist.broadcast(teacher, src=0)
    dist.all_reduce(teacher)

dist.destroy_process_group()
