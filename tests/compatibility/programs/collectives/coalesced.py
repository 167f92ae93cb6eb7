"""Several collectives as one: what is issued inside the coalescing manager leaves as a single call."""

import os

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _coalescing_manager


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    shapes = (3,), (2, 2), (5, 1)
    tensors = [torch.ones(shape, device=device) for shape in shapes]

    with _coalescing_manager(device=device):
        for tensor in tensors:
            dist.all_reduce(tensor)
    with _coalescing_manager(device=device, async_ops=True) as manager:
        for tensor in tensors:
            dist.all_gather_into_tensor(tensor.new_empty(size * tensor.numel()), tensor.flatten())
    manager.wait()
    with _coalescing_manager(device=device, async_ops=True) as manager:
        for tensor in tensors:
            dist.reduce_scatter_tensor(tensor, torch.ones(size * len(tensor), *tensor.shape[1:], device=device))
    manager.wait()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
