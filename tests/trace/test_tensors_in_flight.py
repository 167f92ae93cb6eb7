"""Asynchronous collectives of NCCL keep their tensors until they are waited for, those of other kinds do not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional

from fakerun.rank.simulation import Simulation

NBYTES = 2**20


@pytest.fixture
def in_use(simulation: Simulation) -> Callable[[], int]:
    """Bytes allocated for tensors of the test; ranks are two."""
    dist.init_process_group("cpu:gloo,cuda:nccl")
    return torch.cuda.memory_allocated


def tensor(nbytes: int = NBYTES) -> torch.Tensor:
    return torch.empty(nbytes // 4, device="cuda")


CALLS: dict[str, tuple[Callable[[], Any], int]] = {
    "all_reduce": (lambda: dist.all_reduce(tensor(), async_op=True), NBYTES),
    "all_gather": (lambda: dist.all_gather_into_tensor(tensor(2 * NBYTES), tensor(), async_op=True), 3 * NBYTES),
    "reduce_scatter": (lambda: dist.reduce_scatter_tensor(tensor(), tensor(2 * NBYTES), async_op=True), 3 * NBYTES),
    "all_to_all": (lambda: dist.all_to_all_single(tensor(), tensor(), async_op=True), 2 * NBYTES),
    "broadcast": (lambda: dist.broadcast(tensor(), 0, async_op=True), NBYTES),
    "isend": (lambda: dist.isend(tensor(), 1), 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_tensors_of_a_call_in_flight_are_kept_until_it_is_waited_for(name: str, in_use: Callable[[], int]) -> None:
    call, kept = CALLS[name]
    work = call()
    assert in_use() == kept
    work.wait()
    assert in_use() == 0  # though the handle is there


def test_input_of_a_functional_collective_is_kept_until_its_result_is_waited_for(in_use: Callable[[], int]) -> None:
    result = functional.reduce_scatter_tensor(tensor(2 * NBYTES), "sum", 0, dist.group.WORLD)  # type: ignore[arg-type]
    assert in_use() == 3 * NBYTES
    functional.wait_tensor(result)
    assert in_use() == NBYTES


def test_functional_collective_whose_result_is_dropped_keeps_nothing(in_use: Callable[[], int]) -> None:
    functional.reduce_scatter_tensor(tensor(2 * NBYTES), "sum", 0, dist.group.WORLD)  # type: ignore[arg-type]
    assert in_use() == 0


def test_each_of_several_calls_keeps_its_own(in_use: Callable[[], int]) -> None:
    works: list[Any] = [dist.all_reduce(tensor(), async_op=True) for _ in range(3)]
    assert in_use() == 3 * NBYTES
    works[1].wait()
    assert in_use() == 2 * NBYTES


def test_coalesced_calls_keep_theirs_until_the_one_handle_is_waited_for(in_use: Callable[[], int]) -> None:
    with dist._coalescing_manager(async_ops=True) as manager:  # type: ignore[attr-defined]
        for _ in range(3):
            dist.all_reduce(tensor())
    assert in_use() == 3 * NBYTES
    manager.wait()
    assert in_use() == 0


def test_tensors_of_a_dropped_handle_are_free_with_the_next_call(in_use: Callable[[], int]) -> None:
    dist.all_reduce(tensor(), async_op=True)
    assert in_use() == NBYTES
    work: Any = dist.all_reduce(tensor(), async_op=True)
    assert in_use() == NBYTES
    work.wait()


def test_a_call_that_is_not_asynchronous_keeps_nothing(in_use: Callable[[], int]) -> None:
    dist.all_reduce(tensor())
    assert in_use() == 0


def test_tensors_of_a_future_are_kept_until_a_collective_of_the_next_backward(in_use: Callable[[], int]) -> None:
    kept: list[int] = []

    def reduce_copies(gradient: torch.Tensor) -> None:
        before = in_use()
        for _ in range(2):
            dist.all_reduce(tensor(), async_op=True).get_future().wait()  # type: ignore[union-attr]
        kept.append(in_use() - before)

    leaf = torch.zeros(4, device="cuda", requires_grad=True)
    leaf.register_hook(reduce_copies)
    (leaf * 2).sum().backward()
    (leaf * 2).sum().backward()
    assert kept == [2 * NBYTES, 0]  # the second time those of the first are free


def test_tensors_of_a_future_outside_backward_are_free_with_the_next_call(in_use: Callable[[], int]) -> None:
    for _ in range(2):
        dist.all_reduce(tensor(), async_op=True).get_future().wait()  # type: ignore[union-attr]
        assert in_use() == NBYTES
