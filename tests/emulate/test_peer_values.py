"""What a rank simulated alone receives: each peer is assumed to send what this rank would send in its position."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional

from tests.in_process import Simulate

ME, SIZE = 1, 4


def known(*values: int) -> torch.Tensor:
    return torch.tensor(values, device="cuda")


def exchanged(outputs: list[torch.Tensor], inputs: list[torch.Tensor]) -> list[list[int]]:
    dist.all_to_all(outputs, inputs)
    return [output.tolist() for output in outputs]


def rows_exchanged(source: torch.Tensor, rows: int, **splits: list[int]) -> list[int]:
    output = torch.empty(rows, dtype=source.dtype, device=source.device)
    dist.all_to_all_single(output, source, **{f"{name}_split_sizes": sizes for name, sizes in splits.items()})  # type: ignore[arg-type]
    return output.tolist()  # type: ignore[no-any-return]


def functionally(source: torch.Tensor, received: list[int] | None = None, sent: list[int] | None = None) -> list[int]:
    return functional.all_to_all_single(source, received, sent, dist.group.WORLD).tolist()  # type: ignore[no-any-return, arg-type]


RECEIVED: dict[str, tuple[Callable[[], Any], Any]] = {
    "counts": (lambda: rows_exchanged(known(5, 6, 7, 8), 4), [6, 6, 6, 6]),
    "counts on the host": (lambda: rows_exchanged(torch.tensor([5, 6, 7, 8]), 4), [6, 6, 6, 6]),
    "counts of several experts": (lambda: rows_exchanged(known(*range(8)), 8), [2, 3] * 4),
    "rows by splits": (
        lambda: rows_exchanged(known(*range(10)), 12, input=[1, 3, 2, 4], output=[3, 3, 3, 3]),
        [1, 2, 3] * 4,
    ),
    "no rows for this rank": (lambda: rows_exchanged(known(*range(7)), 0, input=[1, 0, 2, 4], output=[0, 0, 0, 0]), []),
    "counts, functionally": (lambda: functionally(known(5, 6, 7, 8)), [6, 6, 6, 6]),
    "rows by splits, functionally": (lambda: functionally(known(*range(10)), [3] * 4, [1, 3, 2, 4]), [1, 2, 3] * 4),
    "a list": (
        lambda: exchanged([known(0, 0) for _ in range(SIZE)], [known(i, 10 * i) for i in range(SIZE)]),
        [[1, 10]] * 4,
    ),
    "a list onto itself": (lambda: exchanged(*(2 * [[torch.tensor([i]) for i in range(SIZE)]])), [[1]] * 4),
}


@pytest.mark.parametrize("name", RECEIVED)
def test_an_exchange_of_known_values(name: str, simulate: Simulate) -> None:
    simulation = simulate(ME, nproc_per_node=SIZE)
    dist.init_process_group("cpu:gloo,cuda:nccl")
    call, expected = RECEIVED[name]
    assert call() == expected
    assert not [finding for finding in simulation.record(None).findings if finding.code.startswith("unknown")]


UNKNOWN: dict[str, Callable[[], Any]] = {
    "peers that send other sizes": lambda: rows_exchanged(known(*range(8)), 10, input=[2, 2, 2, 2], output=[1, 2, 3, 4]),
    "on the host": lambda: rows_exchanged(torch.arange(8), 10, input=[2, 2, 2, 2], output=[1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_peers_unlike_this_rank_send_is_not_known(name: str, simulate: Simulate) -> None:
    simulation = simulate(ME, nproc_per_node=SIZE)
    dist.init_process_group("cpu:gloo,cuda:nccl")
    assert UNKNOWN[name]() == [1] * 10
    assert [finding.code for finding in simulation.record(None).findings if finding.code.startswith("unknown")]


def reduced(op: dist.ReduceOp.RedOpType, device: str = "cuda") -> list[int]:
    values = torch.tensor([3, 5], device=device)
    dist.all_reduce(values, op)
    return values.tolist()  # type: ignore[no-any-return]


REDUCED = {"SUM": [12, 20], "PRODUCT": [81, 625], "MIN": [3, 5], "MAX": [3, 5], "AVG": [3, 5]}
ON_THE_HOST = {"BAND": [3, 5], "BOR": [3, 5], "BXOR": [0, 0]}


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_with_equals(name: str, simulate: Simulate) -> None:
    simulate(ME, nproc_per_node=SIZE)
    dist.init_process_group("nccl")
    assert reduced(getattr(dist.ReduceOp, name)) == REDUCED[name]


@pytest.mark.parametrize("name", ON_THE_HOST)
def test_bits_reduced_with_equals(name: str, simulate: Simulate) -> None:
    simulate(ME, nproc_per_node=SIZE)
    dist.init_process_group("gloo")
    assert reduced(getattr(dist.ReduceOp, name), "cpu") == ON_THE_HOST[name]


def test_bits_on_an_odd_number_of_ranks(simulate: Simulate) -> None:
    simulate(ME, nproc_per_node=3)
    dist.init_process_group("gloo")
    assert reduced(dist.ReduceOp.BXOR, "cpu") == [3, 5]


def test_a_sum_with_a_factor_is_not_known(simulate: Simulate) -> None:
    simulation = simulate(ME, nproc_per_node=SIZE)
    dist.init_process_group("nccl")
    values = torch.tensor([3.0], device="cuda")
    dist.all_reduce(values, getattr(dist, "_make_nccl_premul_sum")(2.0))  # noqa: B009  unseen by type checkers
    assert values.tolist() == [1.0]
    assert [finding.code for finding in simulation.record(None).findings if finding.code.startswith("unknown")]


def test_point_to_point_functionally(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    name = dist.distributed_c10d._get_default_group().group_name
    operators, x = torch.ops._c10d_functional, torch.ones(4, device="cuda")
    if not hasattr(operators, "batch_p2p_ops"):
        pytest.skip("this torch has no functional point-to-point operators")
    operators.wait_tensor(operators.isend(x, 1, 0, name))
    operators.irecv(x, 1, 0, name)
    operators.batch_p2p_ops(["isend", "irecv"], [1, 1], [3, 4], [x, x.clone()], name)
    calls = simulation.record(None).collectives
    assert [(call.op.value, call.peer, call.tag) for call in calls] == [("send", 1, 0), ("recv", 1, 0), ("send", 1, 3), ("recv", 1, 4)]
