"""Page-locked host memory: ordinary memory here, of which is remembered that it is pinned.

Pinning needs a driver, and nothing that is simulated depends on it; but programs ask (`is_pinned()`), and rely on `pin_memory()` to copy.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.pinned_storages import PinnedStorages
from fakerun.errors import as_script_error
from fakerun.patching import Patches

aten = torch.ops.aten


def pinned_operators(context: EmulationContext) -> None:
    """Answer the operators that pin, and ask whether memory is pinned."""
    pinned = context.pinned

    def is_pinned(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        return args[0] in pinned

    def pin(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
        return _pinned(pinned, args[0])

    context.mode.handle(aten.is_pinned.default, is_pinned)
    context.mode.handle(aten._pin_memory.default, pin)


@contextmanager
def pinned_memory(context: EmulationContext) -> Iterator[None]:
    """Let `Tensor.pin_memory` and `is_pinned` answer in every thread, until the context ends; C++ would look for a driver."""
    pinned = context.pinned
    with Patches() as patches:
        patches.set(torch.Tensor, "pin_memory", lambda self, device=None: _pinned(pinned, self))
        patches.set(torch.Tensor, "is_pinned", lambda self, device=None: self in pinned)
        yield


def _pinned(pinned: PinnedStorages, tensor: torch.Tensor) -> torch.Tensor:
    """What `pin_memory()` returns: the tensor if it is pinned, else a copy that is."""
    if tensor.device.type != "cpu":
        raise as_script_error(RuntimeError(f"cannot pin '{tensor.type()}' only dense CPU tensors can be pinned"))
    if tensor in pinned:
        return tensor
    copy = tensor.clone()
    pinned.add(copy)
    return copy
