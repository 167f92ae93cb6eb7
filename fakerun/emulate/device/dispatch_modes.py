"""How C++ calls dispatch modes.

The script's own, and torch's (selective checkpointing, counters), see the devices that Python sees: C++ calls them with its own devices,
and asks them for the device of a simulated tensor, which CUDA does not.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import DeviceMode
from fakerun.patching import Patches
from fakerun.torch_private import FIND_DISPATCH_RULE, PRIM_DEVICE, PUSH_DISPATCH_MODE, FakeTensor

_DISPATCH = "__torch_dispatch__"


@contextmanager
def dispatch_modes(context: EmulationContext) -> Iterator[None]:
    """Have the modes that are entered until the context ends called with devices as Python sees them."""
    push = getattr(*PUSH_DISPATCH_MODE)
    with Patches() as patches:
        seen: set[Any] = set()

        def push_mode(mode: Any) -> None:
            owner = next(kind for kind in type(mode).__mro__ if _DISPATCH in vars(kind))
            dispatch = vars(owner)[_DISPATCH]
            if owner is not DeviceMode and dispatch not in seen:
                seeing = _seeing_python_devices(context.mode, dispatch)
                seen.add(seeing)
                patches.set(owner, _DISPATCH, seeing)
            push(mode)

        patches.set(*PUSH_DISPATCH_MODE, push_mode)
        yield


@contextmanager
def dispatch_rules(_: EmulationContext) -> Iterator[None]:
    """Spare C++ the search for a rule of `torch.library.register_torch_dispatch` before each operator that `DeviceMode` answers.

    There is none, as rules are for one class each and nobody knows this one. C++ keeps the function that it finds first for as long as
    the process lives, so that it must be right after the context, too.
    """
    find = getattr(*FIND_DISPATCH_RULE)

    def find_rule(operator: Any, kind: type) -> Any:
        return None if kind is DeviceMode else find(operator, kind)

    with Patches() as patches:
        patches.set(*FIND_DISPATCH_RULE, find_rule)
        yield


def _seeing_python_devices(mode: DeviceMode, dispatch: Any) -> Any:
    """A mode's `__torch_dispatch__`, called with the devices that Python sees."""
    if isinstance(dispatch, classmethod):
        return classmethod(_seeing_python_devices(mode, dispatch.__func__))

    @functools.wraps(dispatch)
    def seeing(self: Any, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is PRIM_DEVICE and type(args[0]) is FakeTensor:
            return mode.device_for_cpp(args)
        if any(type(arg) is torch.device for arg in args):
            args = tuple(mode.devices.to_python(arg) if type(arg) is torch.device else arg for arg in args)
        device = kwargs.get("device") if kwargs else None
        if type(device) is torch.device:
            kwargs = {**(kwargs or {}), "device": mode.devices.to_python(device)}
        return dispatch(self, func, types, args, kwargs or {})

    return seeing
