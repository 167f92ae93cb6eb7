"""DistributedDataParallel without torch.cuda.set_device(LOCAL_RANK), as in NVIDIA/apex issue 222: all ranks use cuda:0."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
model = nn.parallel.DistributedDataParallel(nn.Linear(4096, 4096).cuda())
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    model(torch.randn(4, 4096).cuda()).sum().backward()
    optimizer.step()
