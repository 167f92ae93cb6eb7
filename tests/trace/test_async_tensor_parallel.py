"""Tensor parallelism in compiled modules as torch's own DTensor does it, recorded, and its step with and without overlap."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from fakerun.analysis.time.estimate import NoEstimate
from fakerun.hardware.request import parse_hardware
from fakerun.records.collective import CollectiveOp
from fakerun.records.run import RankRecord
from fakerun.report.build_time import step_played_on
from tests.in_process import Simulate

RANKS, ROWS, DIM = 8, 16384, 8192
GATHER, SCATTER = CollectiveOp.ALL_GATHER_INTO_TENSOR, CollectiveOp.REDUCE_SCATTER_TENSOR


class Block(nn.Module):
    """Two products between an all-gather and a reduce-scatter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(DIM, 4 * DIM, bias=False)
        self.second = nn.Linear(4 * DIM, DIM, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.silu(self.first(x)))  # type: ignore[no-any-return]


def trained(simulate: Simulate, *, is_async: bool) -> RankRecord:
    """Two steps of a model of such blocks, sharded over the ranks of a node."""
    simulation = simulate(nproc_per_node=RANKS)
    dist.init_process_group("nccl")
    mesh = init_device_mesh("cuda", (RANKS,), mesh_dim_names=("tp",))
    with torch.device("cuda"):
        model = nn.Sequential(Block(), Block()).to(torch.bfloat16)
    for block in model:
        plan = {"first": ColwiseParallel(input_layouts=Shard(0)), "second": RowwiseParallel(output_layouts=Shard(0))}
        parallelize_module(block, mesh, plan)
        block.compile(options={"_micro_pipeline_tp": is_async})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        inputs = torch.randn(ROWS // RANKS, DIM, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        model(inputs).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return simulation.record(None)


@pytest.mark.parametrize("is_async", [False, True])
def test_products_run_beside_collectives_where_the_compiler_is_asked_for_it(is_async: bool, simulate: Simulate) -> None:
    record = trained(simulate, is_async=is_async)
    calls = [call.op for call in record.collectives if call.step == 1]
    assert calls == [GATHER, SCATTER] * 4  # in forward of each block, and in backward, where each stands for the other
    step = step_played_on(parse_hardware("h100-80gb"), RANKS, [record], ())
    assert not isinstance(step, NoEstimate)
    (tp,) = step.summed.slowest.communication
    share_hidden = tp.hidden_s / tp.seconds
    if is_async:
        assert 0.5 < share_hidden < 1.0
    else:
        assert share_hidden < 0.1
