"""reduce_scatter from a list of tensors, and reduce_scatter_tensor from one."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16):
        mine = torch.empty(2, 3, dtype=dtype, device=device)
        dist.reduce_scatter(mine, [torch.ones_like(mine) for _ in range(size)])
        dist.reduce_scatter_tensor(mine, torch.ones(size * 2, 3, dtype=dtype, device=device), op=dist.ReduceOp.MAX)
    gradient = torch.ones(size * 5, device=device)
    shard = gradient.chunk(size)[dist.get_rank()]  # a part of the input receives the output
    dist.reduce_scatter_tensor(shard, gradient)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
