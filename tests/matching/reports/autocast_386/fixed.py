"""All ranks call `save_checkpoint`, which writes on rank 0 only."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = DistributedDataParallel(nn.Linear(16, 4).cuda(), device_ids=[rank])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def save_checkpoint() -> None:
    if dist.get_rank() == 0:
        torch.save(model.state_dict(), "last.pt")
    dist.barrier()


for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

save_checkpoint()
dist.barrier()

dist.destroy_process_group()
