"""`nn.DataParallel`: what its replicas allocate on each device of the process, and what comes back to the first."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import comm

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

WEIGHT_BYTES = 64 * 64 * 4


def allocated(devices: int) -> list[int]:
    return [torch.cuda.memory_allocated(index) for index in range(devices)]


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_replicas_allocate_on_every_device(simulate: Simulate, devices: int) -> None:
    simulate(nproc_per_node=devices)
    model = nn.DataParallel(nn.Linear(64, 64, bias=False).cuda())
    inputs = torch.randn(8, 64, device="cuda", requires_grad=True)
    output = model(inputs)
    assert (output.shape, output.device) == ((8, 64), torch.device("cuda", 0))
    rows = 8 // devices * 64 * 4
    assert allocated(devices)[1:] == [WEIGHT_BYTES + rows] * (devices - 1), "a replica, and its rows, kept for backward"
    assert allocated(devices)[0] == WEIGHT_BYTES + inputs.nbytes + output.nbytes
    output.sum().backward()
    del output
    gradient = model.module.weight.grad
    assert gradient is not None
    assert (gradient.shape, gradient.device) == ((64, 64), torch.device("cuda", 0))
    assert allocated(devices) == [2 * (WEIGHT_BYTES + inputs.nbytes)] + [0] * (devices - 1)


@pytest.mark.usefixtures("no_workspaces")
def test_a_model_with_state_trains(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=2)
    model = nn.DataParallel(nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout()).cuda())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(8, 64).cuda()).sum().backward()
        optimizer.step()
    assert simulation.seen().steps == 2
    assert torch.cuda.memory_allocated(1) == 0


def test_copies_between_devices(simulation: Simulation) -> None:
    tensor = torch.arange(6.0, device="cuda:0")
    parts = comm.scatter(tensor, [0, 1], [2, 4])
    assert [(part.tolist(), part.device.index) for part in parts] == [([0.0, 1.0], 0), ([2.0, 3.0, 4.0, 5.0], 1)]
    assert comm.gather(parts, destination=1).tolist() == tensor.tolist()
    assert comm.gather(parts, destination=torch.device("cpu")).device.type == "cpu"
    assert [copy.device.index for copy in comm.broadcast(tensor, [0, 1])] == [0, 1]
    (_, copies) = comm.broadcast_coalesced([tensor, tensor.int()], [0, 1])
    assert [(copy.dtype, copy.device.index, copy.shape) for copy in copies] == [(torch.float32, 1, (6,)), (torch.int32, 1, (6,))]
    assert comm.reduce_add([tensor, tensor.to("cuda:1")], destination=0).device == torch.device("cuda", 0)
