"""As in PyTorch's tutorial on DDP: rank 0 saves, a barrier, all ranks load, here without map_location. The argument is the file."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
model = nn.parallel.DistributedDataParallel(nn.Linear(1024, 1024, bias=False).to(device))
if dist.get_rank() == 0:
    torch.save(model.state_dict(), sys.argv[1])
dist.barrier()
state = torch.load(sys.argv[1])
model.load_state_dict(state)
