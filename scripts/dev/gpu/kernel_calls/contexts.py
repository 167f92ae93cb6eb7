"""Settings of torch under which calls run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def cudnn_benchmark() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        yield


@contextmanager
def without_cudnn() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=False):
        yield
