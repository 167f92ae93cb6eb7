"""Data sets that a script generates on the host, small enough to be real and too large to be real."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

SMALL, LARGE = 64, 2**13
"""Samples of 4 KiB: 256 KiB, and 32 MiB, which is above what a host tensor may take to be real."""


@pytest.mark.usefixtures("simulation")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("samples", [SMALL, LARGE])
def test_batches_reach_the_device(samples: int, workers: int) -> None:
    loader = DataLoader(TensorDataset(torch.randn(samples, 1024)), batch_size=4, num_workers=workers, pin_memory=True)
    (batch,) = next(iter(loader))
    assert (batch.shape, batch.dtype, batch.device) == ((4, 1024), torch.float32, torch.device("cpu"))
    on_device = batch.cuda(non_blocking=True)
    assert (on_device.shape, on_device.device) == ((4, 1024), torch.device("cuda", 0))
    assert torch.cuda.memory_allocated() == 4 * 1024 * 4


@pytest.mark.usefixtures("simulation")
def test_workers_read_placeholder_samples_of_large_tensors() -> None:
    (batch,) = next(iter(DataLoader(TensorDataset(torch.randn(LARGE, 1024)), batch_size=2, num_workers=1)))
    assert type(batch) is torch.Tensor
    assert torch.equal(batch, torch.ones(2, 1024))
