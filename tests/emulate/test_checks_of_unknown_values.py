"""Checks of values that only a GPU could compute pass, by whichever API of torch they are made."""

import unittest
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist

from fakerun.rank.simulation import Simulation

CASE = unittest.TestCase()


def _assert(x: torch.Tensor) -> None:
    assert (x >= 0).all()
    assert not (x < 0).any(), "negative"
    assert x.sum() > 2
    assert x.max().item() < 0.25
    assert x.argmax().item() == 3


def _compared(x: torch.Tensor) -> None:
    assert torch.allclose(x, x + 1)
    assert not torch.allclose(x, x + 1)
    assert torch.allclose(x, x + 1) is False
    assert torch.equal(x, x + 1)
    assert not torch.equal(x, x + 1)
    assert 5 in x
    assert 5 not in x


def _library(x: torch.Tensor) -> None:
    torch._assert((x > 1).all(), "small")
    torch.testing.assert_close(x, x + 1)
    CASE.assertTrue((x > 1).all())  # noqa: PT009
    CASE.assertFalse(torch.equal(x, x))  # noqa: PT009


def _raised(x: torch.Tensor) -> None:
    if x.isnan().any() or not torch.equal(x, x * 2):
        raise ValueError
    if x.norm().item() > 0.1:
        raise ValueError


@torch.no_grad()  # type: ignore[untyped-decorator]
def _all_positive(x: torch.Tensor) -> torch.Tensor:
    return (x > 0).all()


def _returned(x: torch.Tensor) -> None:
    positive = _all_positive(x)
    assert positive


CHECKS: dict[str, tuple[Callable[[torch.Tensor], None], int]] = {
    "assert": (_assert, 5),
    "comparisons of tensors": (_compared, 7),
    "libraries": (_library, 4),
    "raise": (_raised, 2),
    "a helper": (_returned, 1),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_and_is_noted(simulation: Simulation, name: str) -> None:
    check, lines = CHECKS[name]
    check(torch.randn(8, device="cuda"))
    assert [finding.code.value for finding in simulation.record(None).findings if "value" in finding.code] == []
    noted = {finding.call_site for finding in simulation.record(None).findings if finding.code == "assumed-check"}
    assert len(noted) == lines


def test_tensors_of_different_shapes_are_not_equal(simulation: Simulation) -> None:
    x = torch.randn(8, device="cuda")
    if torch.equal(x, x[:4]) is not False:
        raise AssertionError
    assert simulation.seen().findings == ()


def test_assumed_peers_fail_no_check(simulation: Simulation) -> None:
    """Each rank contributes its own number; this one assumes that the other one contributes 0, too."""
    dist.init_process_group("nccl")
    numbers = torch.tensor([dist.get_rank()], device="cuda")
    dist.all_reduce(numbers)
    assert numbers.item() == 1
    assert not torch.equal(numbers, torch.zeros_like(numbers))
    assert [finding.code.value for finding in simulation.seen().findings] == ["assumed-check", "assumed-check"]
    sums = [numbers.item()]
    assert sums == [0]
    assert "peers-assumed" in [finding.code.value for finding in simulation.seen().findings]


def test_a_check_keeps_nothing_alive(simulation: Simulation) -> None:
    x = torch.randn(1024, device="cuda")
    before = torch.cuda.memory_allocated()
    limit, large = 2, torch.randn(1024, device="cuda")
    assert x.sum().item() > limit
    del large
    allocated = torch.cuda.memory_allocated()
    assert allocated == before
