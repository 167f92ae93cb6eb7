"""The host storages that would be page-locked on a machine with a GPU."""

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fakerun.torch_private import storage_id


class PinnedStorages:
    """Which host memory is pinned, by storage, so that views share it."""

    def __init__(self) -> None:
        self._storages: dict[int, Any] = {}  # by address

    def add(self, tensor: torch.Tensor) -> None:
        """The memory of this tensor is pinned."""
        for part in _parts(tensor):
            storage = part.untyped_storage()
            address = storage_id(storage)
            self._storages[address] = weakref.ref(storage, partial(self._died, address))

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return bool(self._storages) and any(storage_id(part.untyped_storage()) in self._storages for part in _parts(tensor))

    def _died(self, address: int, reference: Any) -> None:
        if self._storages.get(address) is reference:
            del self._storages[address]


def _parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors with memory of their own: a tensor itself, or what a wrapper (DTensor) wraps; none of sparse tensors."""
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _parts(getattr(tensor, name))
    elif tensor.layout is torch.strided:
        yield tensor
