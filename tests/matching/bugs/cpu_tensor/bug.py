"""The number of samples, counted on the host, is summed over a group that only knows GPUs."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for size in (8, 6):
    model(torch.randn(size, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
    samples = torch.tensor(size)
    dist.all_reduce(samples)  # BUG

dist.destroy_process_group()
