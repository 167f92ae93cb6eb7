"""The known contents of device tensors.

They are kept by storage, so that all views share them: a host storage of the same bytes, or one value that fills it, with a mask of known
bytes. Some values came from the host; others are assumed, as the scenario that the user chose says (`--routing`), or because ranks
that are not simulated are assumed to contribute what this one does. A read of assumed values adds a finding.
"""

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch

from fakerun.torch_private import FakeTensor, storage_id

_LARGEST_FLOAT_BYTES = 2**20
"""The limit for floating-point values: counters, learning rates and loss weights are kept, activations are not."""

_LARGEST_BYTES = 2**24
"""The limit for integers and truth values: token batches, index tensors, masks. Host tensors above it are simulated, too (`HostPolicy`);
computing one of this size takes a third of a millisecond."""

_LARGEST_ASSUMED_BYTES = 2**27
"""The limit for values that follow from assumed choices: twice the one-hot of 8 experts out of 128 for 8192 tokens."""

_LARGEST_UNWRITTEN_BYTES = 2**22
"""The limit for what nobody has written yet; it is made for every `empty` of integers."""

NOTHING, ROUTING, PEERS, UNWRITTEN = 0, 1, 2, 4
"""The assumptions that known values follow from, as bits that every operator propagates."""

_ALL_BITS = -1

_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def largest_bytes(dtype: torch.dtype, assumed: int) -> int:
    """The size up to which the values of a tensor are kept, in bytes."""
    if assumed & ROUTING:
        return _LARGEST_ASSUMED_BYTES
    return _LARGEST_FLOAT_BYTES if dtype.is_floating_point or dtype.is_complex else _LARGEST_BYTES


class _Contents:
    """The contents of one storage. `known` is a mask with all bits of a known byte set; None if all bytes are known.

    With `is_new` all bytes that are not marked have never been written, and are assumed to be 0.
    """

    __slots__ = ("assumed", "fill", "is_new", "known", "reference", "values")

    def __init__(self, reference: Any, assumed: int) -> None:
        self.reference = reference
        self.assumed = assumed
        self.values: torch.UntypedStorage | None = None
        self.fill: torch.Tensor | None = None  # a scalar, in the place of `values` until they are needed
        self.known: torch.UntypedStorage | None = None
        self.is_new = False

    def view(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """A host tensor that shares the contents; None if it would be too large."""
        if self.values is None:
            nbytes = tensor.untyped_storage().nbytes()
            if nbytes > largest_bytes(tensor.dtype, self.assumed) or self.fill is None:
                return None
            self.values = self.fill.expand(nbytes // self.fill.element_size()).clone().untyped_storage()
        return _view(self.values, tensor, tensor.dtype)

    def marks(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The mask of known elements, as integers of the elements' size; None if all are known."""
        return None if self.known is None else _view(self.known, tensor, _OF_SIZE[tensor.element_size()])

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether all elements of a view are known."""
        return self.is_new or self._is_marked(tensor)

    def assumptions(self, tensor: torch.Tensor) -> int:
        """The assumptions that the values of a view follow from."""
        return self.assumed | UNWRITTEN if self.is_new and not self._is_marked(tensor) else self.assumed

    def _is_marked(self, tensor: torch.Tensor) -> bool:
        marks = self.marks(tensor)
        if marks is None:
            return True
        knows = bool((marks == _ALL_BITS).all())
        if knows and _fills_its_storage(tensor):
            self.known = None
        return knows

    def forget(self, tensor: torch.Tensor) -> bool:
        """Mark the elements of a view as unknown; returns False if they cannot be marked."""
        if self.view(tensor) is None or self.values is None or tensor.element_size() not in _OF_SIZE:
            return False
        self.is_new = False
        if self.known is None:
            self.known = _bytes(self.values.nbytes(), 255)
        self.marks(tensor).zero_()  # type: ignore[union-attr]
        return True


class KnownValues:
    """The known contents of simulated storages, by storage."""

    def __init__(self) -> None:
        self._contents: dict[int, _Contents] = {}  # by address of the simulated storage

    # -- reading -------------------------------------------------------------------------------------------------------------------

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor: itself if it is real, a host tensor that shares the contents if they are known, else None."""
        if type(tensor) is not FakeTensor:
            return tensor
        entry = self._entry(tensor)
        return None if entry is None or not entry.knows(tensor) else entry.view(tensor)

    def may_know(self, tensor: torch.Tensor) -> bool:
        """Whether the values may be known: a fast check."""
        return type(tensor) is not FakeTensor or storage_id(tensor.untyped_storage()) in self._contents

    def assumed(self, tensor: torch.Tensor) -> int:
        """The assumptions that the known values of a tensor follow from."""
        if type(tensor) is not FakeTensor:
            return NOTHING
        entry = self._entry(tensor)
        return NOTHING if entry is None else entry.assumptions(tensor)

    def assumed_of_any(self, tensors: Iterable[torch.Tensor]) -> int:
        """The assumptions that the known values of these tensors follow from."""
        assumed = NOTHING
        for tensor in tensors:
            assumed |= self.assumed(tensor)
        return assumed

    def __bool__(self) -> bool:
        return bool(self._contents)

    # -- changing -----------------------------------------------------------------------------------------------------------------

    def remember(self, tensor: torch.Tensor, values: torch.Tensor, *, assumed: int = NOTHING) -> None:
        """`tensor` now holds `values`. If these have another shape (embedding_bag's offsets on the host), it becomes unknown."""
        if tensor.shape != values.size():
            self.forget(tensor)
        elif not _fills_its_storage(tensor):
            self._remember_part(tensor, values, assumed)
        elif tensor.untyped_storage().nbytes() > largest_bytes(tensor.dtype, assumed):
            self.forget(tensor)
        else:
            entry = self._new_entry(tensor, assumed)
            entry.values = _bytes(tensor.untyped_storage().nbytes())
            _view(entry.values, tensor, tensor.dtype).copy_(values)

    def remember_fill(self, tensor: torch.Tensor, value: Any) -> None:
        """Every element of `tensor`, of any size, now is `value`."""
        fill = torch.full((), value, dtype=tensor.dtype, device="cpu")
        if _fills_its_storage(tensor):
            self._new_entry(tensor, NOTHING).fill = fill
        else:
            self._remember_part(tensor, fill, NOTHING)

    def remember_unwritten(self, tensor: torch.Tensor) -> None:
        """`tensor` is new memory, which CUDA mostly hands out as zeros: integers are assumed to be 0 until they are written."""
        nbytes = tensor.untyped_storage().nbytes()
        if tensor.dtype.is_floating_point or tensor.dtype.is_complex or not 0 < nbytes <= _LARGEST_UNWRITTEN_BYTES:
            return
        entry = self._new_entry(tensor, NOTHING)
        entry.values, entry.known, entry.is_new = _bytes(nbytes, 0), _bytes(nbytes, 0), True

    def forget(self, tensor: torch.Tensor) -> None:
        """`tensor` was written to with unknown values."""
        entry = self._entry(tensor)
        if entry is None:
            return
        if _fills_its_storage(tensor) or not entry.forget(tensor):
            del self._contents[storage_id(tensor.untyped_storage())]

    def to_write(self, tensor: torch.Tensor, *, assumed: int) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The host tensors to write to for a write of known values to some elements of `tensor`; None if it is too large.

        They share the contents, and the mask of known elements: integers, all bits set where known; None if all are known.
        """
        entry = self._entry(tensor)
        if entry is None:
            nbytes = tensor.untyped_storage().nbytes()
            if nbytes > largest_bytes(tensor.dtype, assumed) or tensor.element_size() not in _OF_SIZE:
                return None
            entry = self._new_entry(tensor, assumed)
            entry.values, entry.known = _bytes(nbytes), _bytes(nbytes, 0)
        entry.assumed |= assumed
        values = entry.view(tensor)
        return None if values is None else (values, entry.marks(tensor))

    def taint(self, tensor: torch.Tensor, assumed: int) -> None:
        """The contents of `tensor` now follow from these assumptions, too."""
        entry = self._entry(tensor)
        if entry is not None:
            entry.assumed |= assumed

    def _remember_part(self, tensor: torch.Tensor, values: torch.Tensor, assumed: int) -> None:
        parts = self.to_write(tensor, assumed=assumed)
        if parts is None:
            self.forget(tensor)
            return
        contents, marks = parts
        contents.copy_(values)
        if marks is not None:
            marks.fill_(_ALL_BITS)

    def _entry(self, tensor: torch.Tensor) -> _Contents | None:
        storage = tensor.untyped_storage()
        entry = self._contents.get(storage_id(storage))
        if entry is not None and entry.values is not None and entry.values.nbytes() != storage.nbytes():  # it was resized
            del self._contents[storage_id(storage)]
            return None
        return entry

    def _new_entry(self, tensor: torch.Tensor, assumed: int) -> _Contents:
        storage = tensor.untyped_storage()
        address = storage_id(storage)
        entry = self._contents[address] = _Contents(weakref.ref(storage, partial(self._died, address)), assumed)
        return entry

    def _died(self, address: int, reference: Any) -> None:
        entry = self._contents.get(address)
        if entry is not None and entry.reference is reference:
            del self._contents[address]


def _fills_its_storage(tensor: torch.Tensor) -> bool:
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _bytes(count: int, value: int | None = None) -> torch.UntypedStorage:
    made = torch.empty(count, dtype=torch.uint8, device="cpu")
    return (made if value is None else made.fill_(value)).untyped_storage()


def _view(contents: torch.UntypedStorage, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(0, dtype=dtype, device="cpu").set_(contents, like.storage_offset(), like.shape, like.stride())
