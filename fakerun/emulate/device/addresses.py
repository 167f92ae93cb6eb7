"""Addresses of simulated storages: scripts compare them (tied weights, shared storages) and never read from them.

Addresses are assigned on first use, in order, so that every run of a job sees the same ones.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import FakeTensor, storage_id

_FIRST = 0x7F00_0000_0000
_ALIGNMENT = 512


@contextmanager
def simulated_addresses(_: EmulationContext) -> Iterator[None]:
    """Answer `data_ptr()` of simulated tensors and of their storages."""
    addresses = _Addresses()
    real = torch.UntypedStorage.data_ptr

    def of_storage(storage: torch.UntypedStorage) -> int:
        # torch refuses for a storage without data, or, where a tensor has just been made (2.13), answers 0.
        with suppress(RuntimeError):
            if address := real(storage):
                return address
        return addresses.of(storage)

    def of_tensor(tensor: torch.Tensor) -> int:
        start = addresses.of(tensor.untyped_storage())
        return start + int(tensor.storage_offset()) * tensor.element_size() if start else 0

    with Patches() as patches:
        patches.set(torch.UntypedStorage, "data_ptr", of_storage)
        patches.set(FakeTensor, "data_ptr", of_tensor)
        yield


class _Addresses:
    def __init__(self) -> None:
        self._next = _FIRST
        self._given: dict[int, tuple[Any, int]] = {}  # by what torch knows the storage by

    def of(self, storage: torch.UntypedStorage) -> int:
        if storage.nbytes() == 0:
            return 0
        key = storage_id(storage)
        if key not in self._given:
            self._given[key] = (weakref.ref(storage, partial(self._forget, key)), self._next)
            self._next += (storage.nbytes() + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        return self._given[key][1]

    def _forget(self, key: int, reference: Any) -> None:
        self._given.pop(key, None)
