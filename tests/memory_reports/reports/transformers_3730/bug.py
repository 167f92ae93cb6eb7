"""transformers #3730: each rank resumes with the optimizer's state as rank 0 saved it, on cuda:0, which holds the states of all ranks."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

WIDTH, LAYERS, BATCH = 4096, 46, 8

rank = int(os.environ["RANK"])
device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
file = Path(tempfile.gettempdir()) / "optimizer.pt"


def train(*, resume: bool) -> None:
    layers = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).cuda()
    model = nn.parallel.DistributedDataParallel(layers, device_ids=[device], gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    if resume:
        optimizer.load_state_dict(torch.load(file))  # BUG
    model(torch.randn(BATCH, WIDTH, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    if rank == 0:
        torch.save(optimizer.state_dict(), file)
    dist.barrier()


train(resume=False)
train(resume=True)
dist.destroy_process_group()
