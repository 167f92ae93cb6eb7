"""Operators of symmetric memory communicate: they are recorded or end the run, never ignored."""

import importlib
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.errors import EmulationGapError
from fakerun.rank.simulation import Simulation
from fakerun.records.finding_code import FindingCode


@pytest.fixture
def group(simulation: Simulation) -> str:
    dist.init_process_group("nccl")
    assert dist.group.WORLD is not None
    return str(dist.group.WORLD.group_name)


def test_fused_all_gather(group: str, simulation: Simulation) -> None:
    shard, weights = torch.ones(4, 8, device="cuda"), [torch.ones(8, 3, device="cuda"), torch.ones(8, 5, device="cuda")]
    whole, products = torch.ops.symm_mem.fused_all_gather_matmul(shard, weights, 0, group)
    assert (whole.shape, [product.shape for product in products]) == ((8, 8), [(8, 3), (8, 5)])
    (call,) = simulation.record(None).collectives
    assert (call.op.value, call.input_sizes, call.output_sizes) == ("all_gather_into_tensor", ((4, 8),), ((8, 8),))
    assert "not-overlapped" in {finding.code for finding in simulation.record(None).findings}


def test_fused_reduce_scatter(group: str, simulation: Simulation) -> None:
    left, right = torch.ones(4, 8, device="cuda"), torch.ones(8, 6, device="cuda")
    part = torch.ops.symm_mem.fused_matmul_reduce_scatter(left, right, "sum", 0, group)
    assert part.shape == (2, 6)
    (call,) = simulation.record(None).collectives
    assert (call.op.value, call.input_sizes, call.reduce_op) == ("reduce_scatter_tensor", ((4, 6),), "sum")


@pytest.mark.parametrize("name", ["_low_contention_all_gather", "get_remote_tensors"])
def test_reading_other_ranks_ends_the_run(name: str, group: str) -> None:
    with pytest.raises(EmulationGapError, match=rf"^torch.ops.symm_mem.{name}.default is not emulated: .* ordinary collectives"):
        getattr(torch.ops.symm_mem, name)(torch.ones(4, device="cuda"), group)


def overlap_findings(simulation: Simulation) -> list[str]:
    return [each.message for each in simulation.record(None).findings if each.code is FindingCode.NOT_OVERLAPPED]


def test_async_tensor_parallelism_of_the_compiler_is_reported_once(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(torch.sin)
    compiled(torch.ones(4, device="cuda"))
    assert not overlap_findings(simulation)
    config: Any = importlib.import_module("torch._inductor.config")
    monkeypatch.setattr(config, "_micro_pipeline_tp", True)
    compiled(torch.ones(4, device="cuda"))
    compiled(torch.ones(4, device="cuda"))
    (message,) = overlap_findings(simulation)
    assert message.startswith("Async tensor parallelism (micro-pipeline TP) of torch.compile is not emulated")


def test_async_tensor_parallelism_may_be_an_option_of_the_compiler(simulation: Simulation) -> None:
    torch.compile(torch.sin, options={"_micro_pipeline_tp": True})
    assert len(overlap_findings(simulation)) == 1
