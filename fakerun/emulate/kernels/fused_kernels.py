"""Registers kernels that only CUDA builds of torch have.

Nearly every operator has one autograd formula for all devices. A few have a fused kernel on CUDA, with a formula of its own, and are
taken apart elsewhere; the dispatcher decides by whether a CUDA kernel is registered. In a CPU build none is, and the parts would be
recorded, with all that they keep for backward. The kernels registered here are never run: the dispatch mode answers first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.torch_private import has_kernel_for_key, unregister

OPERATORS = ("_fused_rms_norm", "silu_backward", "mish_backward")
"""All operators of torch 2.11 to 2.15 that have both a CUDA kernel and a composite one."""

_KEYS = ("CUDA", "Lazy")
"""Simulated tensors have the first key. Wrappers around them (DTensor) have the key of the device type that C++ sees."""


@contextmanager
def fused_kernels(_: EmulationContext) -> Iterator[None]:
    """Register the kernels that this build lacks, until the context ends."""
    library = torch.library.Library("aten", "IMPL")
    for name in OPERATORS:
        for key in _KEYS:
            if not has_kernel_for_key(f"aten::{name}", key):
                library.impl(name, _never_run, key)
    try:
        yield
    finally:
        unregister(library)


def _never_run(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("a kernel that only marks an operator as fused was run")
