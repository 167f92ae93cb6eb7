"""The loss is wanted on rank 0 only: the others reduce it to rank 0, and rank 0 itself all-reduces."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def mean_loss(loss: torch.Tensor) -> float:
    if rank == 0:
        dist.all_reduce(loss)  # BUG
    else:
        dist.reduce(loss, dst=0)  # PEER
    return loss.item() / dist.get_world_size()


for _ in range(2):
    loss = model(torch.randn(8, 16, device="cuda")).square().mean()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
    mean_loss(loss.detach())

dist.destroy_process_group()
