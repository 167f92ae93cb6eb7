"""Remembers the values of small device tensors where they follow from what the host knows.

A value that came from the host (sequence lengths, position ids, masks, counters) stays known through operators all of whose operands are
known: those are also computed on the host. Values are kept by storage, so that views see them: what a storage holds is a host tensor
of the same bytes. A write with unknown values forgets them.
"""

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from fakerun.emulate.torch_private import FakeTensor, pytree

LARGEST_BYTES = 2**20
"""Storages above this are not remembered: index tensors, lengths, masks and batches of tokens are below."""


_LARGEST_MADE = 256
"""Elements; tensors that the device makes from nothing (zeros, ones, arange) are followed up to this: counters, not buffers."""


_MADE_FROM_NOTHING = {
    getattr(torch.ops.aten, packet).default
    for packet in (
        *("arange", "eye", "full", "linspace", "ones", "scalar_tensor", "zeros"),
        *("full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"),
    )
} | {torch.ops.aten.arange.start, torch.ops.aten.arange.start_step}
"""Operators whose result does not depend on the values of operands. (`empty` is not among them: what it holds is not known.)"""


class _UnknownError(Exception):
    """An operand's values are not known."""


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

    def remember_all(self, tensor: torch.Tensor, value: bool) -> None:
        """Every element of `tensor` is `value`; one that is too large to be remembered stays unknown."""
        if tensor.numel() * tensor.element_size() <= LARGEST_BYTES:
            self.remember(tensor, torch.full(tensor.shape, value, dtype=tensor.dtype, device="cpu"))

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor: itself if it is real, a host tensor that shares the contents if they are known, else None."""
        if type(tensor) is not FakeTensor:
            return tensor
        entry = self._contents.get(tensor.untyped_storage()._cdata)
        return None if entry is None else _view(entry[1], tensor)

    def forget(self, tensor: torch.Tensor) -> None:
        """`tensor` was written to with values that are not known."""
        self._contents.pop(tensor.untyped_storage()._cdata, None)

    def follow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> bool:
        """Work out what `func`, which returned `output` on the device, did to values; False if that cannot be told.

        An operator in place changes the contents; any other makes its result known.
        """
        if func.is_view or torch.Tag.nondeterministic_seeded in func.tags:
            return func.is_view  # type: ignore[no-any-return]  # a view shares its base's contents
        operand = _blank if func in _MADE_FROM_NOTHING else self._or_give_up
        try:
            host_args, host_kwargs = pytree.tree_map_only(torch.Tensor, operand, (tuple(args), dict(kwargs)))
            if "device" in host_kwargs:
                host_kwargs["device"] = torch.device("cpu")
            result = func(*host_args, **host_kwargs)
        except (_UnknownError, RuntimeError, NotImplementedError):  # the host need not have every kernel
            return False
        if not func._schema.is_mutable:
            for made, values in zip(pytree.tree_leaves(output), pytree.tree_leaves(result), strict=True):
                if type(made) is FakeTensor:
                    self.remember(made, values)
        return True

    def may_follow(self, func: Any, args: Sequence[Any], output: Any) -> bool:
        """A quick look at whether `follow` is worth a try: the first operand is known, or a small tensor is made from nothing."""
        if func in _MADE_FROM_NOTHING:
            return type(output) is FakeTensor and output.numel() <= _LARGEST_MADE
        for arg in args:
            if isinstance(arg, torch.Tensor):
                return self.of(arg) is not None
            if isinstance(arg, (list, tuple)) and arg and isinstance(arg[0], torch.Tensor):
                return self.of(arg[0]) is not None
        return False

    def _or_give_up(self, tensor: torch.Tensor) -> torch.Tensor:
        values = self.of(tensor)
        if values is None or values.numel() * values.element_size() > LARGEST_BYTES:
            raise _UnknownError
        return values

    def __bool__(self) -> bool:
        return bool(self._contents)

    def _died(self, address: int, reference: Any) -> None:
        self._contents.pop(address, None)


def _blank(like: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)


def _view(contents: torch.UntypedStorage, like: torch.Tensor) -> torch.Tensor:
    return torch.empty(0, dtype=like.dtype).set_(contents, like.storage_offset(), like.shape, like.stride())
