"""`torch.multiprocessing.spawn` and `start_processes` call the function of this rank in this process."""

import os
import sys
from typing import Any

import pytest
import torch.distributed as dist
import torch.multiprocessing

from tests.in_process import Simulate

mp: Any = torch.multiprocessing

started: list[tuple[int, ...]] = []


def worker(*args: int) -> None:
    started.append(args)
    os.environ["ONLY_IN_THE_WORKER"] = "1"
    del os.environ["WORLD_SIZE"]
    dist.init_process_group("nccl", rank=args[0], world_size=int(os.environ["RANKS"]))
    if args[1:] == (7,):
        sys.exit(0)


@pytest.fixture(autouse=True)
def none_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started.clear()
    monkeypatch.setenv("RANKS", "8")


@pytest.mark.parametrize(("processes", "index"), [(4, 1), (8, 5)], ids=["of the node", "of the job"])
def test_the_function_is_called_once_as_this_rank(simulate: Simulate, processes: int, index: int) -> None:
    simulate(5, nproc_per_node=4, nnodes=2)
    assert mp.spawn(worker, args=(3,), nprocs=processes) is None
    assert started == [(index, 3)]


def test_what_ends_with_a_process_ends_with_the_call(simulate: Simulate) -> None:
    simulate(1, nproc_per_node=8)
    mp.spawn(worker, args=(7,), nprocs=8)
    assert not dist.is_initialized()
    assert "ONLY_IN_THE_WORKER" not in os.environ
    assert os.environ["WORLD_SIZE"] == "8"
    mp.spawn(worker, args=(7,), nprocs=8)
    assert started == [(1, 7), (1, 7)]


def test_processes_can_be_joined_later(simulate: Simulate) -> None:
    simulate(0, nproc_per_node=8)
    context: Any = mp.start_processes(worker, args=(3,), nprocs=8, join=False, start_method="fork")
    assert started == [(0, 3)]
    assert context.join()
    assert context.pids() == []


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), SystemExit("no")])
def test_what_the_function_raises_reaches_the_script(simulate: Simulate, error: BaseException) -> None:
    simulate(0, nproc_per_node=8)

    def fail(index: int) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        mp.spawn(fail, nprocs=8)
    assert raised.value is error
