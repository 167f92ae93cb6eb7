"""Objects that ranks send: exact where this rank sends or all ranks exchange them, noted where only another rank has them."""

from collections.abc import Callable

import pytest
import torch.distributed as dist

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

KEPT = {"kept": 1}


def _received(call: Callable[[list[object]], object]) -> list[object]:
    dist.init_process_group("nccl")
    objects: list[object] = [KEPT]
    call(objects)
    return objects


def _codes(simulation: Simulation) -> list[str]:
    return [finding.code for finding in simulation.record(None).findings if finding.code.startswith("unknown")]


def _calls(simulation: Simulation) -> list[tuple[str, str]]:
    return [(call.op.value, call.dtype) for call in simulation.record(None).collectives]


RECEIVERS: dict[str, tuple[Callable[[list[object]], object], list[tuple[str, str]]]] = {
    "broadcast": (lambda objects: dist.broadcast_object_list(objects, src=0), [("broadcast", "int64"), ("broadcast", "uint8")]),
    "broadcast from rank 0 by default": (
        lambda objects: dist.broadcast_object_list(objects),
        [("broadcast", "int64"), ("broadcast", "uint8")],
    ),
    "broadcast on the device": (
        lambda objects: dist.broadcast_object_list(objects, group_src=0, device="cuda"),  # type: ignore[arg-type]
        [("broadcast", "int64"), ("broadcast", "uint8")],
    ),
    "recv": (lambda objects: dist.recv_object_list(objects, src=0), [("recv", "int64"), ("recv", "uint8")]),
    "scatter": (
        lambda objects: dist.scatter_object_list(objects, None, src=0),
        [("broadcast", "int64"), ("scatter", "uint8"), ("scatter", "int64")],
    ),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_an_object_from_another_rank_is_noted_and_the_list_is_unchanged(name: str, simulate: Simulate) -> None:
    simulation = simulate(rank=1)
    receive, calls = RECEIVERS[name]
    assert _received(receive)[0] is KEPT
    assert _codes(simulation) == ["unknown-object"]
    assert _calls(simulation) == calls


def test_objects_that_this_rank_sends_are_exact(simulation: Simulation) -> None:
    assert _received(lambda objects: dist.broadcast_object_list(objects, src=0)) == [KEPT]
    assert _calls(simulation) == [("broadcast", "int64"), ("broadcast", "uint8")]
    dist.scatter_object_list(received := [None], [KEPT, KEPT], src=0)
    assert received == [KEPT]
    assert not _codes(simulation)


def test_what_all_ranks_exchange_comes_from_ranks_like_this_one(simulate: Simulate) -> None:
    simulation = simulate(rank=1)
    dist.init_process_group("nccl")
    gathered: list[object] = [None, None]
    dist.all_gather_object(gathered, KEPT)
    assert gathered == [KEPT, KEPT]
    assert not _codes(simulation)


def test_a_rank_outside_the_group_does_not_participate(simulate: Simulate) -> None:
    simulation = simulate(rank=1)
    dist.init_process_group("nccl")
    group = dist.new_group([0])
    with pytest.warns(UserWarning, match="does not belong to"):
        dist.broadcast_object_list([KEPT], src=0, group=group)
    assert not _codes(simulation)
