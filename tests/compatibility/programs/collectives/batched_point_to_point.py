"""batch_isend_irecv: each rank sends to the next and receives from the previous one, in the world and within its half."""

import os

import torch
import torch.distributed as dist
from torch.distributed import P2POp


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    key, value = torch.ones(2, 8, device=device), torch.ones(2, 8, dtype=torch.bfloat16, device=device)
    for _ in range(size - 1):
        received = torch.empty_like(key), torch.empty_like(value)
        operations = [P2POp(dist.isend, sent, (rank + 1) % size) for sent in (key, value)]
        operations += [P2POp(dist.irecv, buffer, (rank - 1) % size) for buffer in received]
        for request in dist.batch_isend_irecv(operations):
            request.wait()
        key, value = received

    half, _ = dist.new_subgroups(group_size=size // 2)
    other = 1 - dist.get_rank(half)
    swap = [
        P2POp(dist.isend, key, group_peer=other, group=half),
        P2POp(dist.irecv, torch.empty_like(key), group_peer=other, group=half),
    ]
    for request in dist.batch_isend_irecv(swap):
        request.wait()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
