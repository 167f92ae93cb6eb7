"""Starts its own ranks with torch.multiprocessing.spawn, as programs do that are started with python."""

import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


def worker(rank: int, world_size: int) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12399")
    dist.init_process_group("nccl", rank=rank, world_size=world_size)
    torch.cuda.set_device(rank)
    model = nn.parallel.DistributedDataParallel(nn.Linear(8, 8).cuda(rank), device_ids=[rank])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        model(torch.randn(2, 8).cuda(rank)).sum().backward()
        optimizer.step()


if __name__ == "__main__":
    world_size = int(sys.argv[1])
    mp.spawn(worker, args=(world_size,), nprocs=world_size)  # type: ignore[attr-defined]
