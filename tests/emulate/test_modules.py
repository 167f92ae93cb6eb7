"""Parameters keep their identity when they move, whether their host storage was real or simulated."""

import pytest
import torch
from torch import nn

from fakerun.rank.simulation import Simulation

SMALL, LARGE = 8, 4096
"""Features of a linear layer whose weight is real on the host, and of one whose weight is simulated there."""


@pytest.mark.usefixtures("simulation")
@pytest.mark.parametrize("features", [SMALL, LARGE])
@pytest.mark.parametrize("move", ["cuda", "data", "to_ordinal", "half"])
def test_a_moved_parameter_is_the_same_parameter(features: int, move: str) -> None:
    layer = nn.Linear(features, features)
    weight = layer.weight
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    if move == "cuda":
        layer.cuda()
    elif move == "data":
        for parameter in layer.parameters():
            parameter.data = parameter.data.to("cuda")
    elif move == "to_ordinal":
        layer.to(0)
    else:
        layer.half().cuda()
    assert layer.weight is weight
    assert optimizer.param_groups[0]["params"][0] is weight
    assert {parameter.device for parameter in layer.parameters()} == {torch.device("cuda", 0)}
    assert isinstance(weight, nn.Parameter)
    output = layer(torch.ones(2, features, device="cuda", dtype=weight.dtype))
    output.sum().backward()
    assert weight.grad is not None
    assert weight.grad.device == torch.device("cuda", 0)


def test_a_host_weight_too_large_to_be_real_takes_no_device_memory(simulation: Simulation) -> None:
    layer = nn.Linear(LARGE, LARGE)
    assert layer.weight.device.type == "cpu"
    assert torch.cuda.memory_allocated() == 0
    layer.cuda()
    assert torch.cuda.memory_allocated() == 4 * LARGE * LARGE + 4 * LARGE


@pytest.mark.usefixtures("simulation")
def test_a_converted_module_frees_each_parameter_before_the_next_is_converted() -> None:
    module = nn.Sequential(*(nn.Linear(LARGE, LARGE, bias=False, device="cuda") for _ in range(3)))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    module.bfloat16()
    assert torch.cuda.max_memory_allocated() - before == 2 * LARGE * LARGE  # as seen on an H200, torch 2.11
    assert torch.cuda.memory_allocated() == before // 2
