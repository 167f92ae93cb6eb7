"""Nested tensors of the jagged layout: the symbol of their ragged size follows from their offsets, whether these are simulated or not.

torch keeps that symbol in a registry for real offsets, and on the tensor for FakeTensors, where it is a symbol of the compiler's. Without
this, `.to()` from the host fails with "'Tensor' object has no attribute 'nested_int_memo'" (torch 2.13). Here all are in the registry.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import FakeTensor, NestedIntNode, ragged_sizes


@contextmanager
def jagged_tensors(_: EmulationContext) -> Iterator[None]:
    """Let the ragged sizes of simulated tensors be numbered like those of real ones."""
    sizes = _RaggedSizes()
    memo = property(sizes.of, sizes.share)
    with Patches() as patches:
        patches.add(torch.Tensor, "nested_int_memo", memo)
        patches.set(FakeTensor, "nested_int_memo", memo)
        patches.set(FakeTensor, "get_nested_int", lambda offsets, *, coeff=1: sizes.of(offsets, coeff))
        yield


class _RaggedSizes:
    def __init__(self) -> None:
        self._made = 0

    def of(self, offsets: Any, coeff: int = 1) -> Any:
        """The size that belongs to these offsets. The numbers go down from -1: torch counts its own up."""
        size = ragged_sizes.get(offsets)
        if size is None:
            self._made -= 1
            size = ragged_sizes[offsets] = torch.SymInt(NestedIntNode(self._made, coeff))
        return size

    def share(self, offsets: Any, size: Any) -> None:
        """These offsets mean the same size as others."""
        if size is not None:  # what FakeTensor's constructor sets
            ragged_sizes[offsets] = size
