"""Calls that CUDA rejects and torch's fake tensors accept: rejected here with CUDA's messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode, Handler
from fakerun.emulate.unsupported.cuda_errors import NO_NUMPY, different_types, misplaced_indices
from fakerun.emulate.unsupported.gaps import NUMPY_VIEW
from fakerun.errors import as_script_error
from fakerun.torch_private import FakeTensor

aten = torch.ops.aten


def cuda_checks(context: EmulationContext) -> None:
    """Register the checks."""
    mode = context.mode
    _check_first(mode, aten.convolution.default, _check_convolution)
    for indexing in (aten.index.Tensor, aten.index_put_.default):
        _check_first(mode, indexing, check_indices)
    for reading in ("numpy", "__array__"):
        context.functions.handle(torch.Tensor, reading, _check_host)


def _check_first(mode: DeviceMode, func: Any, check: Handler) -> None:
    def checked(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        check(func, args, kwargs)
        return UNHANDLED

    mode.handle(func, checked)


def _check_convolution(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    source, weight, bias = args[:3]
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and (other.device.type, other.dtype) != (source.device.type, source.dtype):
            raise as_script_error(RuntimeError(different_types("Input", source, name, other)))


def check_indices(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check the devices of indices. The handler of `index_put`, which answers gradients, calls this itself."""
    indexed, indices = args[:2]
    for index in indices:
        if index is not None and index.device.type != "cpu" and index.device != indexed.device:
            raise as_script_error(RuntimeError(misplaced_indices(indexed)))


def _check_host(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`x.numpy()`, `numpy.asarray(x)`: of a tensor in host memory that exists."""
    if args[0].device.type == ACCELERATOR:
        raise as_script_error(TypeError(NO_NUMPY.format(args[0].device)))
    if type(args[0]) is FakeTensor:
        raise NUMPY_VIEW.error()
    return func(*args, **kwargs)
