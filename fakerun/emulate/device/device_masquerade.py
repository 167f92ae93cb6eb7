"""Makes C++ and Python give different answers about a simulated tensor's device.

C++ asks through dispatch and gets `lazy:N`; Python reads `.device` and gets `cuda:N`. See `devices` for why.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR, CPP_ACCELERATOR
from fakerun.emulate.device.mode import DeviceMode
from fakerun.patching import Patches
from fakerun.torch_private import (
    DISPATCH_META_HANDLERS,
    GROUP_TENSORS,
    PRIM_DEVICE,
    WRAPPER_CONSTRUCTOR,
    FakeTensor,
    TensorBase,
    fake_tensor_module,
)


@contextmanager
def device_masquerade(context: EmulationContext) -> Iterator[None]:
    """Install the two answers until the context ends."""
    mode = context.mode
    with Patches() as patches:
        _answer_cpp(patches, mode)
        _answer_python(patches, mode)
        _map_wrappers(patches, mode)
        _map_groups(patches, mode)
        yield


def _answer_cpp(patches: Patches, mode: DeviceMode) -> None:
    original = FakeTensor.__dict__["__torch_dispatch__"].__func__

    def dispatch(cls: type, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is PRIM_DEVICE:
            return mode.device_for_cpp(args)
        return original(cls, func, types, args, kwargs or {})

    patches.set(FakeTensor, "__torch_dispatch__", classmethod(dispatch))
    patches.set_item(DISPATCH_META_HANDLERS, PRIM_DEVICE, mode.device_for_cpp)
    # It would allocate on the accelerator to initialise backward there. There is none, and backward runs on the queue of `lazy`.
    patches.set(fake_tensor_module, "init_gpu_context", lambda device: None)


def _answer_python(patches: Patches, mode: DeviceMode) -> None:
    cpp_device = TensorBase.device

    def device(self: torch.Tensor) -> torch.device:
        answer: torch.device = cpp_device.__get__(self)
        return mode.devices.to_python(answer) if answer.type == CPP_ACCELERATOR else answer

    patches.set(torch.Tensor, "device", property(device))
    is_cuda = property(lambda self: self.device.type == ACCELERATOR)
    patches.set(torch.Tensor, "is_cuda", is_cuda)


def _map_groups(patches: Patches, mode: DeviceMode) -> None:
    """Name the accelerator in groups of tensors by device: callers (optimizers, gradient clipping) check which kernels that device has."""
    group = getattr(*GROUP_TENSORS)

    def group_tensors(*args: Any, **kwargs: Any) -> dict[Any, Any]:
        return {
            (device if device is None else mode.devices.to_python(device), dtype): tensors
            for (device, dtype), tensors in group(*args, **kwargs).items()
        }

    patches.set(*GROUP_TENSORS, group_tensors)


def _map_wrappers(patches: Patches, mode: DeviceMode) -> None:
    original = getattr(torch.Tensor, WRAPPER_CONSTRUCTOR)

    def make_wrapper_subclass(cls: type, *args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        if device is not None:
            kwargs["device"] = mode.devices.to_cpp(torch.device(device))
        args = tuple(mode.devices.to_cpp(arg) if isinstance(arg, torch.device) else arg for arg in args)  # nested tensors' is positional
        return original(cls, *args, **kwargs)

    patches.set(torch.Tensor, WRAPPER_CONSTRUCTOR, staticmethod(make_wrapper_subclass))
