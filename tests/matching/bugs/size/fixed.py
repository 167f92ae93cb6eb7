"""Predictions are gathered; the last rank fills its shorter batch up."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

BATCH = 8
samples = 16 if rank < 3 else 13

for start in range(0, samples, BATCH):
    size = min(BATCH, samples - start)
    predictions = model(torch.randn(size, 16, device="cuda"))
    predictions.square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
    mine = functional.pad(predictions.detach(), (0, 0, 0, BATCH - size))
    everyone = torch.empty(dist.get_world_size() * len(mine), 4, device="cuda")
    dist.all_gather_into_tensor(everyone, mine)

dist.destroy_process_group()
