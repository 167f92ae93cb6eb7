"""Nested tensors of the jagged layout, whose lengths are known on the host."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fakerun.rank.simulation import Simulation

LENGTHS = [2, 4]


def on_the_host() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.randn(length, 8) for length in LENGTHS], layout=torch.jagged)


def from_the_host() -> torch.Tensor:
    return on_the_host().to("cuda")


def made_on_the_device() -> torch.Tensor:
    offsets = torch.tensor([0, *LENGTHS], device="cuda").cumsum(0)
    return torch.nested.nested_tensor_from_jagged(torch.randn(sum(LENGTHS), 8, device="cuda"), offsets)


@pytest.mark.parametrize("make", [from_the_host, made_on_the_device])
def test_jagged_tensors_keep_their_lengths_and_train(simulation: Simulation, make: Callable[[], torch.Tensor]) -> None:
    jagged, layer = make(), nn.Linear(8, 8, device="cuda")
    output = layer(jagged) + jagged
    assert output.device == torch.device("cuda", 0)
    assert output.offsets().tolist() == [0, 2, 6]
    assert [part.shape[0] for part in output.unbind()] == LENGTHS
    output.values().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device == torch.device("cuda", 0)
    assert "unknown-value" not in [finding.code for finding in simulation.record(None).findings]


def test_real_jagged_tensors_stay_real(simulation: Simulation) -> None:
    jagged = on_the_host()
    assert (jagged + jagged).values().tolist() == (2 * jagged.values()).tolist()
