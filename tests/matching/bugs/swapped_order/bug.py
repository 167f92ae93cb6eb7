"""Metrics are reduced in the order in which a rank met their kinds: on rank 1 the first batch was of images."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

kinds = ["image", "text"] if rank == 1 else ["text", "image"]
losses = {kind: torch.zeros(4 if kind == "image" else 8, device="cuda") for kind in kinds}  # by class

for _ in range(2):
    for kind in losses:
        loss = model(torch.randn(8, 16, device="cuda")).square().mean()
        loss.backward()
        losses[kind] += loss.detach()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
    for kind in losses:
        dist.all_reduce(losses[kind])  # BUG

dist.destroy_process_group()
