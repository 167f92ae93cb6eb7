"""Two training steps, and after them what hangs: rank 0 alone gathers the parameters of FSDP for a last checkpoint."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
model = FullyShardedDataParallel(nn.Linear(64, 64).to(device))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(2):
    model(torch.randn(4, 64, device=device)).sum().backward()
    optimizer.step()
if dist.get_rank() == 0:
    model.state_dict()
dist.barrier()
