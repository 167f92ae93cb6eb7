"""Fake worlds in this process: their state, their record, and that they leave nothing behind."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from fakerun.errors import UsageError
from fakerun.testing import FakeWorld, current_world, with_dist, with_fake_comms


@pytest.mark.parametrize(
    ("arguments", "rank", "world_size", "axes"),
    [
        ({}, 0, 2, None),
        ({"rank": 1}, 1, 2, None),
        ({"rank": 3, "world_size": 4}, 3, 4, None),
        ({"mesh": "2x4"}, 0, 8, {"dp": 2, "tp": 4}),
        ({"rank": 15, "world_size": 16, "mesh": "pp=2,cp=8"}, 15, 16, {"pp": 2, "cp": 8}),
        ({"rank": 5, "mesh": {"a": 3, "b": 2}}, 5, 6, {"a": 3, "b": 2}),
    ],
)
def test_the_process_is_the_rank_asked_for(arguments: dict[str, Any], rank: int, world_size: int, axes: dict[str, int] | None) -> None:
    with with_dist(**arguments) as world:
        assert (world.rank, world.world_size) == (rank, world_size) == (dist.get_rank(), dist.get_world_size())
        assert (os.environ["RANK"], os.environ["WORLD_SIZE"]) == (str(rank), str(world_size))
        assert torch.cuda.is_available()
        assert (world.collectives, world.memory.peak_bytes, world.findings) == ((), 0, ())
        if axes is None:
            assert world.mesh is None
        else:
            assert world.mesh is not None
            assert dict(zip(world.mesh.mesh_dim_names or (), world.mesh.shape, strict=True)) == axes
            assert tuple(world.mesh.get_coordinate() or ()) == divmod(rank, list(axes.values())[1])


def test_the_record_is_readable_during_and_after_the_world() -> None:
    with with_dist(rank=1, mesh="2x4") as world:
        assert world.mesh is not None
        kept = torch.ones(1024, device="cuda")
        dist.all_reduce(kept, group=world.mesh["tp"].get_group())
        assert [call.op for call in world.collectives] == ["all_reduce"]
        kept + 1
        dist.barrier()
    assert [(call.op, call.group) for call in world.collectives] == [("all_reduce", "tp"), ("barrier", "world")]
    assert world.collectives[0].group_ranks == (0, 1, 2, 3)
    assert str(world.collectives[0].call_site).startswith("tests/testing/test_world.py:")
    assert (world.memory.peak_bytes, world.memory.final_bytes) == (8192, 4096)


def test_placeholders_that_were_read_are_noted() -> None:
    with with_dist() as world:
        answers = [torch.randn(2, device="cuda").sum().item()]
    assert answers == [1.0]
    assert [finding.code for finding in world.findings] == ["unknown-value"]


def test_any_number_of_optimizer_steps_is_taken() -> None:
    with with_dist():
        parameter = torch.nn.Parameter(torch.ones(2, device="cuda"))
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        for _ in range(5):
            optimizer.step()


def test_the_code_under_test_gets_the_meshes_that_it_makes() -> None:
    with with_dist(mesh="2x4") as world:
        assert init_device_mesh("cuda", (8,)).size() == 8
    assert world.findings == ()


def test_the_hardware_is_the_one_asked_for() -> None:
    with with_dist(hardware="l4"):
        assert "L4" in torch.cuda.get_device_name()


def _state() -> tuple[object, ...]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return variables, dist.is_initialized(), torch.cuda.is_available(), sys.excepthook, dist.all_reduce, init_device_mesh


@pytest.fixture
def unchanged() -> Iterator[None]:
    """torch itself may set a variable when it is first used: one world came before."""
    with with_dist():
        pass
    before = _state()
    yield
    assert _state() == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("times", [1, 3])
def test_everything_is_restored(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "the test's own")
    for _ in range(times):
        with with_dist(rank=1):
            dist.all_reduce(torch.ones(2, device="cuda"))
        assert os.environ["RANK"] == "the test's own"


@pytest.mark.usefixtures("unchanged")
def test_everything_is_restored_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), with_dist() as world:  # noqa: PT012
        dist.all_reduce(torch.ones(2, device="cuda"))
        _ = 1 / 0
    assert len(world.collectives) == 1
    with with_dist() as second:
        assert second.collectives == ()


@pytest.mark.usefixtures("unchanged")
def test_the_group_may_be_destroyed_inside() -> None:
    with with_dist() as world:
        dist.all_reduce(torch.ones(2))
        dist.destroy_process_group()
    assert len(world.collectives) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2 does not exist"),
        ({"rank": -1}, "rank -1 does not exist"),
        ({"world_size": 0}, "world size 0: must be"),
        ({"world_size": 6, "mesh": "2x4"}, "mesh 2x4 .* has 8 ranks, but the world size is 6"),
        ({"mesh": "2*4"}, "mesh '2\\*4' is neither sizes nor named sizes"),
        ({"hardware": "h200-80gb"}, "unknown hardware 'h200-80gb'"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message), with_dist(**arguments):
        pass


@pytest.mark.usefixtures("unchanged")
def test_a_world_inside_another_is_refused() -> None:
    with with_dist() as world:
        with pytest.raises(UsageError, match="in a process group already"), with_dist():
            pass
        dist.destroy_process_group()
        with pytest.raises(UsageError, match="already simulates a rank"), with_dist():
            pass
        assert current_world() is world


@pytest.mark.usefixtures("unchanged")
def test_a_process_group_of_the_tests_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # init_process_group sets one, and leaves it there
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        with pytest.raises(UsageError, match="in a process group already"), with_dist():
            pass
    finally:
        dist.destroy_process_group()


def test_outside_there_is_no_world() -> None:
    with pytest.raises(UsageError, match="no fake world has begun"):
        current_world()


@with_fake_comms
def _without_arguments(number: int, *, factor: int = 2) -> tuple[FakeWorld, int]:
    """Doubles."""
    return current_world(), number * factor


@with_fake_comms(rank=3, mesh="2x4", hardware="l4")
def _with_arguments(number: int, *, factor: int = 2) -> tuple[FakeWorld, int]:
    """Doubles."""
    dist.all_reduce(torch.ones(2, device="cuda"))
    return current_world(), number * factor


@pytest.mark.parametrize(
    ("function", "rank", "world_size", "collectives"),
    [(_without_arguments, 0, 2, 0), (_with_arguments, 3, 8, 1)],
    ids=["bare", "arguments"],
)
def test_a_decorated_function_runs_in_a_world(function: Callable[..., Any], rank: int, world_size: int, collectives: int) -> None:
    for _ in range(2):
        world, product = function(3, factor=5)
        assert (world.rank, world.world_size, len(world.collectives), product) == (rank, world_size, collectives, 15)
    assert function.__doc__ == "Doubles."
    assert list(inspect.signature(function).parameters) == ["number", "factor"]


class TestDecoratedMethod:
    """pytest gives a decorated method its fixtures."""

    @with_fake_comms(world_size=4)
    @pytest.mark.parametrize("number", [7])
    def test_in_the_world(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (dist.get_world_size(), number) == (4, 7)


async def _later() -> None: ...


def _bit_by_bit() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("decorated", "message"),
    [(3, "decorates functions, not 3"), (_later, "_later would run after"), (_bit_by_bit, "_bit_by_bit would run after")],
)
def test_what_cannot_be_decorated(decorated: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        with_fake_comms(decorated)
