"""Created groups in the record: their ranks, their position in the program, and the ranks that must create them."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fakerun.rank.simulation import Simulation
from fakerun.records.run import GroupCreation
from tests.in_process import Simulate

WORLD = (0, 1, 2, 3)
Made = tuple[int, tuple[int, ...], int, tuple[int, ...] | None]


def in_a_loop() -> None:
    for first in (0, 1, 2):
        dist.new_group([first, first + 1])


def around_a_collective() -> None:
    dist.new_group([0, 1])
    dist.all_reduce(torch.ones(4, device="cuda"))
    dist.new_group([0, 1])


def of_two_backends() -> None:
    for ranks in ([0, 1], [2, 3]):
        dist.new_group(ranks)
        dist.new_group(ranks, backend="gloo")


def split_of_a_part() -> None:
    part = dist.split_group(split_ranks=[[0, 1, 2], [3]])
    dist.split_group(part, split_ranks=[[0, 2], [1]])


MADE: dict[str, tuple[Callable[[], Any], list[Made]]] = {
    "new_group": (lambda: dist.new_group([2, 0]), [(0, (0, 2), 1, None)]),
    "new_group of all": (lambda: dist.new_group(), [(0, WORLD, 1, None)]),
    "new_group in its own order": (lambda: dist.new_group([2, 0], sort_ranks=False), [(0, (2, 0), 1, None)]),
    "new_group of others": (lambda: dist.new_group([2, 3]), [(0, (2, 3), 1, None)]),
    "new_group of members only": (lambda: dist.new_group([0, 2], use_local_synchronization=True), [(0, (0, 2), 1, (0, 2))]),
    "new_group of other members only": (lambda: dist.new_group([2, 3], use_local_synchronization=True), []),
    "groups of one line": (in_a_loop, [(0, (0, 1, 1, 2, 2, 3), 3, None)]),
    "groups of two lines": (of_two_backends, [(0, (0, 1), 1, None), (0, (0, 1), 1, None), (0, (2, 3), 1, None), (0, (2, 3), 1, None)]),
    "before and after a collective": (around_a_collective, [(0, (0, 1), 1, None), (1, (0, 1), 1, None)]),
    "new_subgroups": (lambda: dist.new_subgroups(2), [(0, (0, 1, 2, 3), 2, None)]),
    "new_subgroups by enumeration": (lambda: dist.new_subgroups_by_enumeration([[0, 3], [1, 2]]), [(0, (0, 3, 1, 2), 2, None)]),
    "split_group": (lambda: dist.split_group(split_ranks=[[0, 1], [2, 3]]), [(0, WORLD, 2, None)]),
    "split_group of a part": (
        split_of_a_part,
        [(0, (0, 1, 2), 1, None), (0, (3,), 1, None), (0, (0, 2), 1, (0, 1, 2)), (0, (1,), 1, (0, 1, 2))],
    ),
    "a mesh": (lambda: init_device_mesh("cuda", (2, 2)), [(0, (0, 2, 1, 3, 0, 1, 2, 3), 4, None)]),
    "a mesh of a part": (lambda: DeviceMesh("cuda", [0, 1]), [(0, (0, 1), 1, None)]),
    "no group": (lambda: dist.group.WORLD, []),
}


def seen(simulation: Simulation) -> tuple[GroupCreation, ...]:
    return simulation.seen().group_creations


@pytest.mark.parametrize("name", MADE)
def test_groups_are_recorded(name: str, simulate: Simulate) -> None:
    if name == "new_group in its own order" and "sort_ranks" not in inspect.signature(dist.new_group).parameters:
        pytest.skip("torch 2.11 sorts the ranks of every group")
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl", device_id=torch.device("cuda", 0) if "split" in name else None)
    make, made = MADE[name]
    make()
    assert [(each.before, each.ranks, each.count, each.callers) for each in seen(simulation)] == made


def test_each_group_of_an_entry(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    in_a_loop()
    (entry,) = seen(simulation)
    assert list(entry.each()) == [(0, 1), (1, 2), (2, 3)]
    assert entry.call_site is not None
    assert entry.call_site.path == "tests/trace/test_group_creations.py"


def test_a_group_that_torch_refuses_is_not_created(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl")
    with pytest.raises(ValueError, match=r"out of range|should be within the world_size"):
        dist.new_group([0, 4])
    assert seen(simulation) == ()


def test_ranks_see_the_same_groups(simulate: Simulate) -> None:
    """The record names no rank: what all ranks make is stored once for all."""
    simulation = simulate(rank=3, nproc_per_node=4)
    dist.init_process_group("nccl")
    MADE["a mesh"][0]()
    assert [(each.before, each.ranks, each.count, each.callers) for each in seen(simulation)] == MADE["a mesh"][1]


def test_a_large_world_makes_few_entries(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=8, nnodes=256)
    dist.init_process_group("nccl")
    init_device_mesh("cuda", (16, 16, 8), mesh_dim_names=("pp", "dp", "tp"))
    for first in range(0, 2048, 8):
        dist.new_group(range(first, first + 8))
    entries = seen(simulation)
    assert [each.count for each in entries] == [256, 256, 256]
    assert [sum(1 for _ in each.each()) for each in entries] == [256, 256, 256]
