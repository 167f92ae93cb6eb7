"""autocast #386: `save_checkpoint` ends in a barrier, which every rank must enter, but only rank 0 calls it. Its barrier pairs with the
one that the others reach later, at the end of the run, and the last one of rank 0 waits until the watchdog ends the job.
"""

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
    dist.barrier()  # BUG


for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

if rank == 0:
    save_checkpoint()
dist.barrier()  # PEER

dist.destroy_process_group()
