"""Keeps the identity of parameters when a module moves between host and simulated accelerator.

On a GPU `module.cuda()` changes each parameter's data in place, so tied weights stay tied and an optimizer keeps its parameters.
The content of a real tensor cannot be set to a simulated one; it can be swapped.
"""

import copyreg
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.patching import Patches
from fakerun.emulate.torch_private import swap_tensor_impl


@contextmanager
def parameters_keep_identity() -> Iterator[None]:
    """Let `Module._apply` swap the content of parameters, whatever refers to them."""
    with Patches() as patches:
        patches.set(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        patches.set(torch.utils, "swap_tensors", _swap)
        yield


def _swap(first: torch.Tensor, second: torch.Tensor) -> None:
    """`torch.utils.swap_tensors` for tensors that others refer to weakly (the simulator does)."""
    first.__class__, second.__class__ = second.__class__, first.__class__
    first.__dict__, second.__dict__ = second.__dict__, first.__dict__
    for slot in copyreg._slotnames(type(first)):  # type: ignore[attr-defined]  # DTensor keeps its local tensor in one
        _swap_attribute(first, second, slot)
    swap_tensor_impl(first, second)


_ABSENT = object()


def _swap_attribute(first: Any, second: Any, name: str) -> None:
    values = getattr(first, name, _ABSENT), getattr(second, name, _ABSENT)
    for owner, value in ((first, values[1]), (second, values[0])):
        if value is not _ABSENT:
            setattr(owner, name, value)
        elif hasattr(owner, name):
            delattr(owner, name)
