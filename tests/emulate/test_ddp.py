"""DistributedDataParallel on the host."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fakerun.rank.simulation import Simulation
from fakerun.records.collective import CollectiveOp


def test_a_model_on_the_host_is_trained_over_gloo(simulation: Simulation) -> None:
    dist.init_process_group("gloo")
    model = DistributedDataParallel(nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    gradient = model.module.weight.grad
    assert gradient is not None
    assert gradient.tolist() == [[2.0] * 4] * 3
    reduced = [call for call in simulation.record(None).collectives if call.op is CollectiveOp.ALL_REDUCE]
    assert [(call.nbytes, call.device) for call in reduced] == [((4 * 3 + 3) * 4, None)]
