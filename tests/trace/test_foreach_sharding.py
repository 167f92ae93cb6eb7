"""List operators on DTensors: each element gets the placement that it gets alone, although torch is asked once for equal elements."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from tests.in_process import Simulate
from tests.trace.seen import watch

ROWS, COLUMNS, WHOLE, BOTH, SUMMED = (
    (Shard(0), Replicate()),
    (Replicate(), Shard(1)),
    (Replicate(), Replicate()),
    (Shard(0), Shard(1)),
    (Partial(), Replicate()),
)
Element = tuple[tuple[int, int], Sequence[Placement], torch.dtype]
FIRST: tuple[Element, ...] = (
    ((8, 8), ROWS, torch.float32),
    ((8, 8), COLUMNS, torch.float32),
    ((8, 8), ROWS, torch.float32),  # as the first
    ((8, 8), ROWS, torch.bfloat16),
    ((16, 8), ROWS, torch.float32),
    ((8, 8), BOTH, torch.float32),
    ((8, 8), COLUMNS, torch.float32),
    ((8, 8), SUMMED, torch.float32),
    ((8, 8), WHOLE, torch.float32),
    ((8, 8), SUMMED, torch.float32),
)
SECOND = tuple((size, ROWS if placements is COLUMNS else placements, dtype) for size, placements, dtype in FIRST)
Operator = Callable[[slice, list[Tensor], list[Tensor]], Any]

OPERATORS: dict[str, Operator] = {
    "of each": lambda _, a, b: torch._foreach_sqrt(a),
    "in place": lambda _, a, b: torch._foreach_neg_(b),
    "a reduction": lambda _, a, b: torch._foreach_norm(a),
    "two lists that are placed differently": lambda _, a, b: torch._foreach_add(a, b),
    "two lists, in place": lambda _, a, b: torch._foreach_add_(b, a),
    "with one tensor": lambda _, a, b: torch._foreach_mul(a, torch.ones((), device="cuda")),
    "with numbers": lambda part, a, b: torch._foreach_div(a, [2.0, 2.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0][part]),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_element_gets_the_placement_that_it_gets_alone(simulate: Simulate, name: str) -> None:
    simulation = simulate(rank=2, nproc_per_node=4)
    operator, mesh = OPERATORS[name], init_device_mesh("cuda", (2, 2))
    whole, single = slice(None), [slice(i, i + 1) for i in range(len(FIRST))]
    with watch(simulation) as together:
        results = operator(whole, made(FIRST, mesh), made(SECOND, mesh))
    with watch(simulation) as apart:
        each = [operator(part, made(FIRST[part], mesh), made(SECOND[part], mesh)) for part in single]
    assert described(results) == [line for result in each for line in described(result)]
    assert calls(together) == calls(apart)


def made(elements: Sequence[Element], mesh: DeviceMesh) -> list[Tensor]:
    """A DTensor for each, with the part of it that this rank holds."""
    tensors: list[Tensor] = []
    for size, placements, dtype in elements:
        own = [rows // 2 if Shard(dim) in placements else rows for dim, rows in enumerate(size)]
        tensors.append(DTensor.from_local(torch.ones(own, dtype=dtype, device="cuda"), mesh, placements, run_check=False))
    return tensors


def described(results: Any) -> list[tuple[Any, ...]]:
    return [(each.placements, each.shape, each.dtype, each.to_local().shape) for each in results or ()]


def calls(seen: Any) -> list[str]:
    return sorted(f"{call.op} {call.group} {call.dtype} {call.input_sizes}" for call in seen.collectives)
