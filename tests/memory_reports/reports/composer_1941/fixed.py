"""composer #1941: to evaluate with averaged weights, a copy of the training weights is set aside: two more models in memory, not one."""

import os

import torch
import torch.distributed as dist
from torch import nn

WIDTH, LAYERS, BATCH, DECAY = 4096, 8, 16, 0.999

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")

layers = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).cuda()
model = nn.parallel.DistributedDataParallel(layers, gradient_as_bucket_view=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
average = {name: weight.detach().clone() for name, weight in layers.named_parameters()}


@torch.no_grad()
def evaluate() -> None:
    for name, weight in layers.named_parameters():
        weight.data, average[name] = average[name], weight.data
    model(torch.randn(BATCH, WIDTH, device="cuda"))
    for name, weight in layers.named_parameters():
        weight.data, average[name] = average[name], weight.data


for _step in range(2):
    model(torch.randn(BATCH, WIDTH, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    for name, weight in layers.named_parameters():
        average[name].lerp_(weight.detach(), 1 - DECAY)
    evaluate()

dist.destroy_process_group()
