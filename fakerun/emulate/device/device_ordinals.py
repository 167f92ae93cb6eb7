"""`torch.device(1)` and `module.to(1)` are the accelerator of that number, also in a build of torch that has none.

Such a build refuses the number in C++ (torch 2.13 without CUDA; a build with CUDA answers by itself). What makes a device is a type written
in C, which Python does not let anyone change, and a torch-function mode that answers makes every function of torch slower: 6.5 % of the
instructions of a rank. So the constructor is replaced in the type itself: the type is made mutable for the time of one assignment, with
which Python puts a Python function into the slot, and the slot is put back at the end.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR, is_ordinal, ordinal_as_device
from fakerun.patching import Patches
from fakerun.torch_private import PARSE_TO

_IMMUTABLE = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE (Include/object.h, Python 3.10 and later)."""


class _TypeObject(ctypes.Structure):
    """The beginning of PyTypeObject (Include/cpython/object.h), the same from Python 3.8 to 3.14."""

    _fields_ = (
        ("object", ctypes.c_char * object.__basicsize__),
        ("ob_size", ctypes.c_ssize_t),
        ("to_flags", ctypes.c_void_p * 18),
        ("tp_flags", ctypes.c_ulong),
        ("to_new", ctypes.c_void_p * 17),
        ("tp_new", ctypes.c_void_p),
    )


@contextmanager
def device_ordinals(_: EmulationContext) -> Iterator[None]:
    """Answer `torch.device(1)` until the context ends."""
    if _build_knows_ordinals():
        yield
        return
    slots = _TypeObject.from_address(id(torch.device))
    if slots.tp_flags != torch.device.__flags__:
        raise RuntimeError("type objects of this Python are not laid out as those of CPython 3.11 to 3.14 are")
    in_c, wrapper = slots.tp_new, vars(torch.device)["__new__"]
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.py_object)(in_c)

    def construct(kind: type, *args: Any, **kwargs: Any) -> Any:
        given = args or (tuple(kwargs.values()) if kwargs.keys() == {"device"} else ())
        if len(given) == 1 and is_ordinal(given[0]) and len(args) + len(kwargs) == 1:
            return make(kind, (ACCELERATOR, int(given[0])), {})
        return make(kind, args, kwargs)

    _assign_constructor(slots, staticmethod(construct))
    try:
        yield
    finally:
        _assign_constructor(slots, wrapper)
        slots.tp_new = in_c  # the wrapper calls what is in the slot


def _assign_constructor(slots: _TypeObject, constructor: object) -> None:
    slots.tp_flags &= ~_IMMUTABLE
    try:
        torch.device.__new__ = constructor  # type: ignore[method-assign,assignment]
    finally:
        slots.tp_flags |= _IMMUTABLE


def _build_knows_ordinals() -> bool:
    """Whether torch answers, or fakerun does already."""
    try:
        return torch.device(0).type == ACCELERATOR
    except RuntimeError:
        return False


@contextmanager
def module_device_ordinals(_: EmulationContext) -> Iterator[None]:
    """Let `module.to(1)` mean the accelerator's ordinal: its arguments are parsed in C++, where no constructor is called."""
    parse = getattr(*PARSE_TO)

    def parse_to(*args: Any, **kwargs: Any) -> Any:
        args = (*map(ordinal_as_device, args[:1]), *args[1:])
        if "device" in kwargs:
            kwargs["device"] = ordinal_as_device(kwargs["device"])
        return parse(*args, **kwargs)

    with Patches() as patches:
        patches.set(*PARSE_TO, parse_to)
        yield
