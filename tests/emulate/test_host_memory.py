"""Host tensors that are too large to be real are simulated, however they are created."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from fakerun.rank.simulation import Simulation
from fakerun.torch_private import FakeTensor

LARGE: dict[str, Callable[[], torch.Tensor]] = {
    "a factory": lambda: torch.zeros(8192, 8192),
    "a factory of a small tensor": lambda: torch.ones(1).new_zeros(8192, 8192),
    "repeated": lambda: torch.ones(1).repeat(8192, 8192),
    "padded": lambda: functional.pad(torch.ones(1, 1), (0, 8191, 0, 8191)),
    "an outer product": lambda: torch.outer(torch.ones(8192), torch.ones(8192)),
    "classes": lambda: functional.one_hot(torch.zeros(8192, dtype=torch.int64), 8192),
}
SMALL: dict[str, Callable[[], torch.Tensor]] = {
    "a factory": lambda: torch.zeros(64, 64),
    "a factory of a small tensor": lambda: torch.ones(1).new_zeros(64, 64),
    "a view with large numbers": lambda: torch.ones(8)[2 : 2**62],
}


@pytest.mark.parametrize("name", LARGE)
def test_large_host_tensors_have_no_data(name: str, shared_simulation: Simulation) -> None:
    tensor = LARGE[name]()
    assert isinstance(tensor, FakeTensor)
    assert (tensor.device.type, tensor.numel()) == ("cpu", 8192 * 8192)


@pytest.mark.parametrize("name", SMALL)
def test_small_host_tensors_are_real(name: str, shared_simulation: Simulation) -> None:
    assert type(SMALL[name]()) is torch.Tensor
