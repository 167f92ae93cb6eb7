"""A rank simulated alone assumes that its peers match it, and notes it where the script reads what they contribute."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.rank.simulation import Simulation
from fakerun.records.finding_code import Severity
from fakerun.records.findings import Finding
from tests.in_process import Simulate


def _host(value: float) -> torch.Tensor:
    return torch.tensor([value])


def _on_device(value: float) -> torch.Tensor:
    return _host(value).cuda()


def _reduced(tensor: torch.Tensor) -> torch.Tensor:
    dist.all_reduce(tensor)
    return tensor


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    gathered = tensor.new_empty(2)
    dist.all_gather_into_tensor(gathered, tensor)
    return gathered


def _of_several() -> None:
    """One line, read often."""
    for _ in range(3):
        _reduced(_on_device(1)).item()


SAYS_SO: dict[str, Callable[[], Any]] = {
    "a vote on the host": lambda: _reduced(_host(1)),
    "a vote on the device": lambda: _reduced(_on_device(1)).item(),
    "a copy to the host": lambda: _reduced(_on_device(1)).cpu(),
    "what follows from it": lambda: bool(_reduced(_on_device(1)) * 2 + 1 > 0),
    "a part of what was gathered": lambda: _gathered(_on_device(1))[1].item(),
    "a shape": lambda: _gathered(_on_device(1)).nonzero(),
    "objects": lambda: dist.all_gather_object([None, None], "it"),
    "an asynchronous call": lambda: dist.all_reduce(_host(1), async_op=True).wait(),  # type: ignore[union-attr]
    "often": _of_several,
}

SAYS_NOTHING: dict[str, Callable[[], Any]] = {
    "not read": lambda: _reduced(_on_device(1)),
    "written over": lambda: _reduced(_on_device(1)).zero_().item(),
    "its own": lambda: (_reduced(_on_device(1)), _on_device(1).item()),
    "unknown": lambda: _reduced(torch.randn(1, device="cuda")),
    "a group of one": lambda: dist.all_reduce(_host(1), group=dist.new_group([0], backend="gloo")),
    "a barrier": lambda: dist.barrier(),
    "no communication": lambda: (_on_device(1) + 1).item(),
}


def _peers_assumed(simulation: Simulation) -> list[Finding]:
    return [finding for finding in simulation.seen().findings if finding.code == "peers-assumed"]


@pytest.mark.parametrize("name", SAYS_SO)
def test_values_of_peers_that_are_read_have_a_finding(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("cpu:gloo,cuda:nccl")
    SAYS_SO[name]()
    (note,) = _peers_assumed(simulation)
    assert note.severity is Severity.NOTE
    assert str(note.call_site).startswith("tests/emulate/test_assumed_peers.py:")
    assert "--ranks all" in str(note.hint)


@pytest.mark.parametrize("name", SAYS_NOTHING)
def test_values_of_peers_that_are_not_read_have_no_finding(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("cpu:gloo,cuda:nccl")
    SAYS_NOTHING[name]()
    assert _peers_assumed(simulation) == []


def test_what_follows_from_routing_is_assumed_by_all_ranks(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    counts = torch.randn(8, 4, device="cuda").topk(1).indices.flatten().bincount(minlength=4).float()
    assert _reduced(counts).tolist() == [4.0, 4.0, 4.0, 4.0]
    assert {finding.code for finding in simulation.seen().findings} == {"assumed-routing"}
