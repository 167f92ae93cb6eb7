"""Remembers the values of device tensors that came from the host.

Values are kept by storage, so that views see them: what a storage holds is a host tensor of the same bytes. A write by anything but
another copy of known values forgets them.
"""

import weakref
from functools import partial
from typing import Any

import torch

from fakerun.emulate.torch_private import FakeTensor

LARGEST_BYTES = 2**20
"""Storages above this are not remembered: index tensors, lengths, masks and batches of tokens are below."""


class KnownValues:
    """What is known of the contents of simulated storages."""

    def __init__(self) -> None:
        self._contents: dict[int, tuple[Any, torch.UntypedStorage]] = {}  # by address of the simulated storage

    def remember(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """`tensor` now holds `values` (same shape). Only a tensor that fills its storage can make the storage known."""
        storage = tensor.untyped_storage()
        if storage.nbytes() > LARGEST_BYTES or tensor.numel() * tensor.element_size() != storage.nbytes():
            self.forget(tensor)
            return
        contents = torch.empty(storage.nbytes(), dtype=torch.uint8).untyped_storage()
        _view(contents, tensor).copy_(values)
        address = storage._cdata
        self._contents[address] = (weakref.ref(storage, partial(self._died, address)), contents)

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor: itself if it is real, a host tensor that shares the contents if they are known, else None."""
        if type(tensor) is not FakeTensor:
            return tensor
        entry = self._contents.get(tensor.untyped_storage()._cdata)
        return None if entry is None else _view(entry[1], tensor)

    def forget(self, tensor: torch.Tensor) -> None:
        """`tensor` was written to with values that are not known."""
        self._contents.pop(tensor.untyped_storage()._cdata, None)

    def __bool__(self) -> bool:
        return bool(self._contents)

    def _died(self, address: int, reference: Any) -> None:
        self._contents.pop(address, None)


def _view(contents: torch.UntypedStorage, like: torch.Tensor) -> torch.Tensor:
    return torch.empty(0, dtype=like.dtype).set_(contents, like.storage_offset(), like.shape, like.stride())
