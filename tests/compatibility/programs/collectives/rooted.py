"""broadcast, reduce, gather and scatter: one rank gives or gets, named by its rank in the world or in a group."""

import os

import torch
import torch.distributed as dist


def from_and_to(root: int, rank: int, size: int, device: torch.device) -> None:
    ones = torch.ones(4, 2, device=device)
    parts = [torch.full((3,), float(peer), device=device) for peer in range(size)]
    dist.broadcast(ones, src=root)
    dist.reduce(ones, dst=root, op=dist.ReduceOp.MAX)
    dist.scatter(torch.empty(3, device=device), parts if rank == root else None, src=root)
    dist.gather(torch.ones(3, device=device), parts if rank == root else None, dst=root)


def within_a_pair(rank: int, size: int, device: torch.device) -> None:
    """The second of each pair is the root; `group_src` and `group_dst` count within the group."""
    pair, _ = dist.new_subgroups(group_size=2)
    half = torch.ones(5, dtype=torch.bfloat16, device=device)
    dist.broadcast(half, group_src=1, group=pair)
    dist.reduce(half, group_dst=1, group=pair)
    dist.broadcast(half, src=rank // 2 * 2, group=pair)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    from_and_to(0, rank, size, device)
    from_and_to(size - 1, rank, size, device)
    within_a_pair(rank, size, device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
