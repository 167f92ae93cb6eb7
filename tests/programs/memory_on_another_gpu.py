"""A checkpoint of rank 0 loaded without map_location, as in pytorch/pytorch issue 23138: each rank leaves 12 GiB on cuda:0."""

import os

import torch
import torch.distributed as dist

local_rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(local_rank)
dist.init_process_group("nccl")
loaded = torch.empty(3 << 30, device="cuda:0")
own = torch.empty(3 << 30, device=f"cuda:{local_rank}")
own.copy_(loaded)
dist.all_reduce(own[:1])
