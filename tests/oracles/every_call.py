"""Issues every kind of communication once, on two ranks; then fails, as the recorder must have written everything before."""

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional


def collectives(rank: int) -> None:
    two, one, pair = torch.ones(2), torch.ones(1), [torch.ones(1), torch.ones(1)]
    dist.all_reduce(two, op=dist.ReduceOp.MAX)
    dist.all_gather(pair, one)
    dist.all_gather_into_tensor(two, one)
    dist.reduce(two, dst=1)
    dist.reduce_scatter(one, pair)
    dist.reduce_scatter_tensor(one, two)
    dist.broadcast(two, src=1)
    dist.scatter(one, pair if rank == 1 else None, src=1)
    dist.gather(one, pair if rank == 1 else None, dst=1)
    dist.all_to_all_single(two, two.clone())
    dist.barrier()
    functional.all_reduce(two, "sum", [0, 1])


def point_to_point(rank: int) -> None:
    whole = torch.ones(3, dtype=torch.int64)
    if rank == 0:
        dist.send(whole, dst=1)
        dist.recv(whole)
    else:
        dist.recv(whole, src=0)
        dist.send(whole, dst=0)


def in_backward() -> None:
    """An all-reduce that autograd starts, from C++."""
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1, bias=False))
    model(torch.ones(1, 2)).sum().backward()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    collectives(dist.get_rank())
    point_to_point(dist.get_rank())
    in_backward()
    raise SystemExit("fails on purpose")
