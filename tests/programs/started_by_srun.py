"""Finds its rank as processes do that srun starts."""

import os

import torch
import torch.distributed as dist

rank, world_size, local_rank = (int(os.environ[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
assert "RANK" not in os.environ
os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"], "29500"
torch.cuda.set_device(local_rank)
dist.init_process_group("nccl", rank=rank, world_size=world_size)
dist.all_reduce(torch.ones(int(os.environ["OF_RANK"]), device="cuda"))
