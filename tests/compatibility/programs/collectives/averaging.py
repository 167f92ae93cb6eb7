"""Reductions that only NCCL has: the average, and the sum of what each rank scales first."""

import os

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import _make_nccl_premul_sum


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    gradient = torch.ones(size * 3, device=device)
    dist.all_reduce(gradient, op=dist.ReduceOp.AVG)
    dist.reduce_scatter_tensor(torch.empty(3, device=device), gradient, op=dist.ReduceOp.AVG)
    dist.all_reduce(gradient, op=_make_nccl_premul_sum(1.0 / size))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
