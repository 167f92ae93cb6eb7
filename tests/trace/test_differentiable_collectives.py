"""Collectives that autograd differentiates: their calls in backward, and one allocation per result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional
from torch.distributed.nn import functional as differentiable

from tests.in_process import Simulate
from tests.trace.seen import watch


def row() -> torch.Tensor:
    return torch.ones(4, device="cuda", requires_grad=True)


CALLS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "all_reduce": (lambda: differentiable.all_reduce(row()), ["all_reduce", "all_reduce"]),
    "reduce": (lambda: differentiable.reduce(row(), 0), ["reduce", "broadcast"]),
    "broadcast": (lambda: differentiable.broadcast(row(), 0), ["broadcast", "reduce"]),
    "all_gather": (lambda: torch.cat(differentiable.all_gather(row())), ["all_gather", "reduce_scatter"]),
    "all_to_all_single": (lambda: differentiable.all_to_all_single(torch.empty(4, device="cuda"), row()), 2 * ["all_to_all_single"]),
    "reduce_scatter": (
        lambda: differentiable.reduce_scatter(torch.empty(2, device="cuda"), [*row().chunk(2)]),
        ["reduce_scatter", "all_gather"],
    ),
    "functional all_gather": (
        lambda: functional.all_gather_tensor_autograd(row(), 0, dist.group.WORLD),  # type: ignore[arg-type]
        ["all_gather_into_tensor", "reduce_scatter_tensor"],
    ),
    "functional all_to_all": (
        lambda: functional.all_to_all_single_autograd(row(), [2, 2], [2, 2], dist.group.WORLD),  # type: ignore[arg-type]
        2 * ["all_to_all_single"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_forward_and_backward(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    call, operations = CALLS[name]
    with watch(simulation) as seen:
        call().sum().backward()
    assert [each.op.value for each in seen.collectives] == operations
    assert seen.collectives[-1].phase.value == "backward"


def test_a_functional_result_is_allocated_once(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    source = torch.tensor([3, 4], device="cuda")
    with watch(simulation) as seen:
        result = functional.all_reduce(source, "sum", dist.group.WORLD)  # type: ignore[arg-type]
        assert result.tolist() == [6, 8]
    assert len(seen.blocks) == 1
