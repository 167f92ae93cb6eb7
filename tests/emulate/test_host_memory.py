"""Host tensors that are too large to be real are simulated, however they are created."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def test_a_large_file_of_tokens_is_read_into_a_tensor(tmp_path: Path, shared_simulation: Simulation) -> None:
    """As speed runs of GPT-2 do: 24 MB straight into page-locked memory."""
    shard = tmp_path / "tokens.bin"
    np.arange(12_000_000, dtype=np.uint16).tofile(shard)
    tokens = torch.empty(12_000_000, dtype=torch.uint16, pin_memory=True)
    with shard.open("rb", buffering=0) as file:
        assert file.readinto(tokens.numpy().data) == 24_000_000
    assert tokens[70_000] == 70_000 % 2**16
    batch = tokens[:1024].to(device="cuda", dtype=torch.int64)
    assert (batch.device.type, batch[1023].item()) == ("cuda", 1023)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8, torch.uint8, torch.complex64])
def test_what_weights_are_kept_in_has_no_data_above_the_lower_limit(dtype: torch.dtype, shared_simulation: Simulation) -> None:
    assert isinstance(torch.empty(20 * 2**20, dtype=dtype), FakeTensor)
