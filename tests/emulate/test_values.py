"""Which values of device tensors a script gets to see: those that follow from the host are exact, the rest are neutral and noted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from fakerun.rank.simulation import Simulation

KNOWN: dict[str, tuple[Callable[[], Any], Any]] = {
    "from the host": (lambda: torch.tensor(5, device="cuda").item(), 5),
    "copied from the host": (lambda: torch.arange(4).cuda().tolist(), [0, 1, 2, 3]),
    "there and back": (lambda: torch.tensor([1.5, 2.5]).to("cuda").cpu().tolist(), [1.5, 2.5]),
    "made on the device": (lambda: torch.zeros(3, device="cuda").tolist(), [0.0, 0.0, 0.0]),
    "arithmetic": (lambda: (torch.tensor([2, 3], device="cuda") * 2 + 1).tolist(), [5, 7]),
    "a view": (lambda: torch.arange(6).cuda().view(2, 3)[1, 2].item(), 5),
    "a transposed view": (lambda: torch.arange(6).view(2, 3).cuda().t().contiguous().tolist(), [[0, 3], [1, 4], [2, 5]]),
    "changed in place": (lambda: torch.zeros(2, device="cuda").add_(1).tolist(), [1.0, 1.0]),
    "changed through a view": (lambda: _changed_through_view(), [0, 9, 2]),
    "a host scalar mixed in": (lambda: (torch.tensor([1, 2], device="cuda") + torch.tensor(10)).tolist(), [11, 12]),
    "a branch": (lambda: bool((torch.tensor([3, 1], device="cuda") > 2).any()), True),
    "a comparison of tensors": (lambda: torch.equal(torch.ones(2, device="cuda"), torch.ones(2, device="cuda")), True),
    "nonzero": (lambda: torch.tensor([0, 7, 0, 8], device="cuda").nonzero().flatten().tolist(), [1, 3]),
    "boolean mask": (lambda: _masked().shape[0], 2),
    "summed over two equal ranks": (lambda: _all_reduced(torch.tensor(3, device="cuda")), 6),
    "truth summed over two equal ranks": (lambda: _all_reduced(torch.tensor([True, False], device="cuda")), [True, False]),
}

UNKNOWN: dict[str, tuple[Callable[[], Any], Any]] = {
    "float": (lambda: torch.randn(3, device="cuda").sum().item(), 1.0),
    "int": (lambda: torch.randint(9, (), device="cuda").item(), 1),
    "bool": (lambda: bool((torch.randn((), device="cuda") > 0).item()), False),
    "uninitialised": (lambda: torch.empty((), device="cuda").item(), 1.0),
    "written over with unknown values": (lambda: torch.zeros((), device="cuda").normal_().item(), 1.0),
    "received": (lambda: _sent_by_rank_1(lambda value: dist.recv(value, src=1), "cuda"), [1, 1]),
    "received on the host": (lambda: _sent_by_rank_1(lambda value: dist.recv(value, src=1), "cpu"), [1, 1]),
    "scattered": (lambda: _sent_by_rank_1(lambda value: dist.scatter(value, src=1), "cuda"), [1, 1]),
    "known and unknown together": (lambda: (torch.ones((), device="cuda") + torch.randn((), device="cuda")).item(), 1.0),
}


def _changed_through_view() -> Any:
    base = torch.arange(3).cuda()
    base[1].fill_(9)
    return base.tolist()


def _masked() -> torch.Tensor:
    values = torch.tensor([1, 5, 3], device="cuda")
    return values[values > 2]


def _all_reduced(value: torch.Tensor) -> Any:
    dist.init_process_group("nccl")
    dist.all_reduce(value)
    return value.tolist()


def _sent_by_rank_1(receive: Callable[[torch.Tensor], Any], device: str) -> Any:
    dist.init_process_group("cpu:gloo,cuda:nccl")
    value = torch.zeros(2, dtype=torch.int64, device=device)
    receive(value)
    return value.tolist()


def notes(simulation: Simulation) -> list[str]:
    return [finding.code for finding in simulation.record(None).findings if finding.code == "unknown-value"]


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_host_knows_is_exact(simulation: Simulation, name: str) -> None:
    ask, expected = KNOWN[name]
    assert ask() == expected
    assert not notes(simulation)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_is_neutral_and_noted(simulation: Simulation, name: str) -> None:
    ask, neutral = UNKNOWN[name]
    assert ask() == neutral
    assert notes(simulation) == ["unknown-value"]


FINITE: dict[str, Callable[[], Any]] = {
    "a scalar": lambda: bool(torch.isfinite(torch.randn((), device="cuda"))),
    "the method": lambda: torch.randn((), device="cuda").isfinite().item(),
    "all of a small tensor": lambda: bool(torch.isfinite(torch.randn(4, device="cuda")).all()),
    "all of a tensor too large to be remembered": lambda: bool(torch.all(torch.isfinite(torch.randn(2048, 2048, device="cuda")))),
    "the norm of gradients": lambda: bool(torch.isfinite(torch.nn.utils.clip_grad_norm_([_with_gradient()], 1.0))),
}


def _with_gradient() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.randn(8, device="cuda"))
    parameter.grad = torch.randn_like(parameter)
    return parameter


@pytest.mark.parametrize("name", FINITE)
def test_unknown_values_are_taken_to_be_finite_and_that_is_noted(simulation: Simulation, name: str) -> None:
    assert FINITE[name]() is True
    assert "assumed-finite" in [finding.code for finding in simulation.record(None).findings]


def test_known_values_are_finite_or_not(simulation: Simulation) -> None:
    values = torch.tensor([1.0, float("inf"), float("nan")], device="cuda")
    assert torch.isfinite(values).tolist() == [True, False, False]
    assert not bool(torch.isfinite(values).all())
    assert not {"unknown-value", "assumed-finite"} & {finding.code for finding in simulation.record(None).findings}


def test_gradients_sharded_over_ranks_are_finite_too(simulation: Simulation) -> None:
    mesh = init_device_mesh("cuda", (2,), mesh_dim_names=("dp",))
    model = torch.nn.Linear(8, 8, device="cuda")
    fully_shard(model, mesh=mesh)
    model(torch.randn(2, 8, device="cuda")).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert bool(torch.isfinite(norm))
    assert "all_reduce" in [record.op for record in simulation.record(None).collectives]
