"""Ranks that do the same have equal schedules and memory timelines, whatever their numbers; differences have a reason."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from fakerun.records.codec import encode_rank
from fakerun.testing import FakeWorld, with_dist


def shards(world: FakeWorld) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)).cuda()
    assert world.mesh is not None
    parallelize_module(model, world.mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()}, src_data_rank=None)
    fully_shard(model, mesh=world.mesh["dp"])
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 16, device="cuda")).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def pairs_made_by_all(world: FakeWorld) -> None:
    pairs = [dist.new_group([i, i + 1]) for i in range(0, world.world_size, 2)]
    dist.all_reduce(torch.ones(4, device=f"cuda:{world.rank % 8}"), group=pairs[world.rank // 2])


def pairs_made_apart(world: FakeWorld) -> None:
    """Each pair gets another of c10d's names, and is called after its ranks."""
    pairs, _ = dist.new_subgroups(group_size=2)
    first = dist.get_process_group_ranks(pairs)[0]
    dist.broadcast(torch.ones(4).cuda(), src=first, group=pairs)


def ring(world: FakeWorld) -> None:
    size, edge = world.world_size, torch.ones(4).cuda()
    right, left = (world.rank + 1) % size, (world.rank - 1) % size
    for request in dist.batch_isend_irecv([dist.P2POp(dist.isend, edge, right), dist.P2POp(dist.irecv, edge.clone(), left)]):
        request.wait()


def chain(world: FakeWorld) -> None:
    activation = torch.ones(4).cuda()
    if world.rank > 0:
        dist.recv(activation, src=world.rank - 1)
    if world.rank < world.world_size - 1:
        dist.send(activation, dst=world.rank + 1)


def reports_to_the_first(world: FakeWorld) -> None:
    gathered = [torch.empty(4).cuda() for _ in range(world.world_size)] if world.rank == 0 else None
    dist.gather(torch.ones(4).cuda(), gathered, dst=0)


def uneven_parts(world: FakeWorld) -> None:
    """Six rows on four ranks: two each, and none for the last."""
    assert world.mesh is not None
    rows = DTensor.from_local(torch.ones(6, 8).cuda(), world.mesh, [Replicate()] * world.mesh.ndim, run_check=False)
    rows.redistribute(world.mesh, [Shard(0)] * world.mesh.ndim).to_local().clone()


def offset_by_rank(world: FakeWorld) -> None:
    torch.ones(4, device="cuda") - world.rank


ALL = [[0, 1, 2, 3]]
PROGRAMS: dict[str, tuple[Callable[[FakeWorld], None], dict[str, Any], list[list[int]]]] = {
    "shards in two ways": (shards, {"mesh": "2x2"}, ALL),
    "a number of each rank": (offset_by_rank, {}, ALL),
    "pairs made by all": (pairs_made_by_all, {}, ALL),
    "pairs made apart": (pairs_made_apart, {}, ALL),
    "a ring": (ring, {}, ALL),
    "a chain: the first, the last, those between": (chain, {}, [[0], [1, 2], [3]]),
    "one gathers": (reports_to_the_first, {}, [[0], [1, 2, 3]]),
    "parts of two sizes": (uneven_parts, {"mesh": "dp=4"}, [[0, 1, 2], [3]]),
}


@pytest.mark.parametrize(("program", "world", "classes"), PROGRAMS.values(), ids=PROGRAMS)
def test_ranks_that_do_the_same_share_their_records(program: Callable[..., None], world: dict[str, Any], classes: list[list[int]]) -> None:
    ranks_by_parts = defaultdict(list)
    for rank in range(4):
        ranks_by_parts[frozenset(parts_of(program, rank, world))].append(rank)
    assert list(ranks_by_parts.values()) == classes


def parts_of(program: Callable[..., None], rank: int, world: dict[str, Any]) -> set[str]:
    """The names of the parts of a rank's record, which follow from what is in them."""
    with with_dist(rank=rank, **(world or {"world_size": 4})) as inside:
        program(inside)
        return set(encode_rank(inside.record).parts)
