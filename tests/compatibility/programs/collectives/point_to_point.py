"""send, recv, isend and irecv: a token goes around the ring, then neighbours exchange in both directions at once."""

import os

import torch
import torch.distributed as dist


def around_the_ring(rank: int, size: int, device: torch.device) -> None:
    token = torch.zeros(3, dtype=torch.int64, device=device)
    if rank == 0:
        dist.send(token, dst=1)
        dist.recv(token, src=size - 1)
    else:
        dist.recv(token, src=rank - 1)
        dist.send(token, dst=(rank + 1) % size)


def both_directions(rank: int, size: int, device: torch.device) -> None:
    right, left = (rank + 1) % size, (rank - 1) % size
    halo_from_left, halo_from_right = torch.empty(4, 2, device=device), torch.empty(4, 2, device=device)
    edge = torch.full((4, 2), float(rank), device=device)
    messages = [
        lambda: dist.isend(edge, dst=right, tag=1),
        lambda: dist.isend(edge, dst=left, tag=2),
        lambda: dist.irecv(halo_from_left, src=left, tag=1),
        lambda: dist.irecv(halo_from_right, src=right, tag=2),
    ]
    # NCCL carries the messages between two ranks in the order of their calls: one sends while the other receives.
    in_order = messages if rank % 2 == 0 else [*messages[2:], *messages[:2]]
    requests = [message() for message in in_order]
    for request in requests:
        assert request is not None
        request.wait()


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    around_the_ring(dist.get_rank(), dist.get_world_size(), device)
    both_directions(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
