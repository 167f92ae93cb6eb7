"""The device of each block and call: recorded by ordinal, in order of first use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.launch.environment import worker_environment
from fakerun.records.run import RankRecord
from tests.in_process import Simulate, simulation_of

BINDS_A_DEVICE = hasattr(dist.distributed_c10d, "_nccl2_device")
"""Whether init_process_group binds an NCCL group to a device unless a device is given (torch 2.15): that of LOCAL_RANK."""


def test_devices_are_numbered_in_order_of_first_use(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group()
    kept = [torch.ones(1, device=f"cuda:{index}") for index in (2, 0, 2)]
    dist.all_reduce(kept[1])
    torch.empty(0, device="cuda:3")
    record = simulation.seen()
    assert record.devices == (2, 0)
    assert [block.device for block in timeline_of(record.program).blocks] == [0, 1, 0]
    assert [call.device for call in record.collectives] == [1]


def test_ranks_on_devices_of_their_own_have_equal_records(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(rank: int) -> RankRecord:
        simulation, job = simulation_of(rank, nproc_per_node=4)
        for name, value in worker_environment(job, rank, inherited={}, error_file=Path(os.devnull)).items():
            monkeypatch.setenv(name, value)
        with simulation:
            torch.cuda.set_device(rank)
            dist.init_process_group()
            dist.all_reduce(torch.ones(1, device="cuda"))
            record = simulation.seen()
            dist.destroy_process_group()
        return record

    one, other = seen(1), seen(3)
    assert (one.devices, other.devices) == ((1,), (3,))
    assert one.program == other.program
    assert list(one.collectives) == list(other.collectives)


def test_a_script_that_hides_devices_uses_those_it_left(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(rank=3, nproc_per_node=4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    weight = torch.ones(1, device="cuda")
    record = simulation.seen()
    assert weight.device.index == 0
    assert record.devices == (3,)


def barrier_alone() -> None:
    dist.barrier()


def barrier_on_the_device_asked_for() -> None:
    dist.all_reduce(torch.ones(1, device="cuda:3"))
    dist.barrier(device_ids=[1])


def barrier_on_the_device_used_first() -> None:
    dist.all_reduce(torch.ones(1, device="cuda:3"))
    dist.all_reduce(torch.ones(1, device="cuda:0"))
    dist.barrier()


def objects() -> None:
    torch.cuda.set_device(1)
    dist.all_gather_object([None] * 4, "it")


@pytest.mark.parametrize(
    ("calls", "options", "expected"),
    [
        pytest.param(barrier_alone, {}, 2, id="a barrier: the rank's own"),
        pytest.param(barrier_alone, {"device_id": torch.device("cuda", 1)}, 1, id="a barrier: the bound one"),
        pytest.param(barrier_on_the_device_asked_for, {}, 1, id="a barrier: the one asked for"),
        pytest.param(barrier_on_the_device_used_first, {}, 2 if BINDS_A_DEVICE else 3, id="a barrier: the one used first"),
        pytest.param(objects, {}, 1, id="objects: the current one"),
    ],
)
def test_the_device_of_calls_without_device_tensors(
    calls: Callable[[], None], options: dict[str, Any], expected: int, simulate: Simulate
) -> None:
    simulation = simulate(rank=2, nproc_per_node=4)
    dist.init_process_group("nccl", **options)
    calls()
    record = simulation.seen()
    device = record.collectives[-1].device
    assert device is not None
    assert record.devices[device] == expected
