"""A FakeTensorMode of the script's own: what it communicates is recorded, and its tensors take no memory."""

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from fakerun.rank.simulation import Simulation
from fakerun.torch_private import FakeTensorMode


def calls(simulation: Simulation) -> list[tuple[str, int, bool]]:
    """Operation, bytes, and whether it was waited for."""
    return [(call.op.value, call.nbytes, call.waited) for call in simulation.seen().collectives]


def notes(simulation: Simulation) -> list[str]:
    return [finding.code.value for finding in simulation.seen().findings]


def test_collectives_are_recorded(simulation: Simulation) -> None:
    mesh = init_device_mesh("cuda", (2,))
    with FakeTensorMode():
        tensor = torch.ones(100, device="cuda")
        whole = torch.empty(200, device="cuda")
        dist.all_reduce(tensor)
        work: Any = dist.all_gather_into_tensor(whole, tensor, async_op=True)
        work.wait()
        gathered: Any = functional.all_gather_tensor(tensor, 0, mesh)
        assert (gathered + 1).shape == (200,)
        assert (tensor.device, whole.device) == (torch.device("cuda", 0),) * 2
    recorded = calls(simulation)[-3:]
    assert recorded == [("all_reduce", 400, True), ("all_gather_into_tensor", 800, True), ("all_gather_into_tensor", 800, True)]
    assert notes(simulation) == ["own-fake-mode"]


def test_its_tensors_take_no_memory_and_others_do(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    with FakeTensorMode():
        kept = torch.ones(2**20, device="cuda") * 2
        assert torch.cuda.memory_allocated() == 0
    real = torch.ones(2**20, device="cuda")
    dist.all_reduce(real)
    assert torch.cuda.memory_allocated() == real.nbytes == kept.nbytes
    assert calls(simulation) == [("all_reduce", real.nbytes, True)]


def test_a_sharded_model_trains(simulation: Simulation) -> None:
    mesh = init_device_mesh("cuda", (2,))
    set_up = len(calls(simulation))
    with FakeTensorMode():
        model = nn.Sequential(nn.Linear(8, 8, bias=False, device="cuda"))
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model(torch.randn(4, 8, device="cuda")).sum().backward()
        optimizer.step()
    assert calls(simulation)[set_up:] == [("all_gather_into_tensor", 256, True), ("reduce_scatter_tensor", 256, True)]
    assert torch.cuda.memory_allocated() == 0
    assert simulation.seen().steps == 1
