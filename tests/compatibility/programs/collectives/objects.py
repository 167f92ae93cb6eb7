"""Python objects, pickled: all_gather_object, gather_object, broadcast_object_list, scatter_object_list, send and recv."""

import os
from typing import Any

import torch
import torch.distributed as dist


def main() -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()

    metrics: list[Any] = [None] * size
    dist.all_gather_object(metrics, {"loss": 0.5, "tokens": 1024})
    assert sum(metric["tokens"] for metric in metrics) == 1024 * size
    dist.gather_object(("done", True), metrics if rank == 0 else None, dst=0)

    config: list[Any] = [{"lr": 3e-4 * (rank + 1), "layers": [1, 2, 3]}, "run-name"]  # rank 0's is what all shall have
    dist.broadcast_object_list(config, src=0)
    mine: list[Any] = [{"shard": rank}]
    dist.scatter_object_list(mine, [{"shard": peer} for peer in range(size)] if rank == 0 else None, src=0)

    message: list[Any] = [f"a greeting from rank {rank}", rank]
    if rank == 0:
        dist.send_object_list(message, dst=1)
    elif rank == 1:
        dist.recv_object_list(message, src=0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
