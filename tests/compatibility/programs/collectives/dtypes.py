"""Unusual data: complex numbers, truth values, single bytes, tensors of rank zero and of no elements, views."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    dist.all_reduce(torch.ones(3, dtype=torch.complex64, device=device))
    dist.broadcast(torch.ones(2, dtype=torch.complex128, device=device), src=0)
    dist.all_reduce(torch.ones(5, dtype=torch.uint8, device=device), op=dist.ReduceOp.MAX)
    dist.all_reduce(torch.ones(5, dtype=torch.float16, device=device))
    dist.all_reduce(torch.ones(5, dtype=torch.float64, device=device))
    dist.all_reduce(torch.tensor(1.0, device=device))
    dist.all_reduce(torch.empty(0, device=device))
    dist.broadcast(torch.ones(4, dtype=torch.bool, device=device), src=1)
    weights = torch.ones(6, 4, device=device)
    dist.all_reduce(weights[2:4])  # contiguous rows of a larger tensor
    dist.all_gather_into_tensor(torch.empty(size * 4, device=device), weights[5])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
