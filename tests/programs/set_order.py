"""Reduces tensors in the order of a set of names, which under torchrun is another one on each rank."""

import os

import torch
import torch.distributed as dist

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
names = {"attn.q", "attn.out", "mlp.up", "mlp.down.proj", "norm", "embedding", "head", "bias"}
for name in names:
    dist.all_reduce(torch.ones(len(name), device=device))
