"""Tells the observer which operations the device executes: an operator with the metadata of its arguments and results, each once."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from fakerun.emulate.device.devices import ACCELERATOR, Devices
from fakerun.emulate.device.global_state import products_use_tf32
from fakerun.records.observer import ExecutionObserver
from fakerun.torch_private import FakeTensor, pytree, schema_of

aten = torch.ops.aten

NOTHING = -1
"""The number of what executes nothing on the device."""

_WITHOUT_KERNEL = frozenset(
    {
        aten._local_scalar_dense, aten._reshape_alias, aten._unsafe_view, aten.alias, aten.detach, aten.detach_,
        aten.empty, aten.empty_like, aten.empty_permuted, aten.empty_strided, aten.lift_fresh, aten.new_empty,
        aten.new_empty_strided, aten.resize_, aten.set_, aten.squeeze_, aten.t_, aten.transpose_,
        aten.unsqueeze_,
    }
)  # fmt: skip
"""Operators that only allocate, read or describe memory."""

_PRODUCTS = frozenset({aten.addbmm, aten.addmm, aten._addmm_activation, aten.addmm_, aten.baddbmm, aten.baddbmm_, aten.bmm, aten.mm})
"""Matrix products, which compute float32 in TF32 if the script says so."""

_NUMBERS = ("number", "float", "str")
_TYPES_LEFT_OUT = frozenset({*_NUMBERS, *(f"{kind}[{of}]" for kind in ("List", "Optional") for of in _NUMBERS)})
_NAMES_LEFT_OUT = frozenset(
    {
        "device", "end", "generator", "index", "layout", "memory_format", "padding_idx", "pin_memory", "rank", "start", "storage_offset",
    }
)  # fmt: skip
"""Arguments that do not change the amount of work, and that differ between ranks which do the same: places and values."""


class ExecutedOperations:
    """Numbers operations and reports their execution."""

    def __init__(self, observer: ExecutionObserver, devices: Devices) -> None:
        self._observer = observer
        self._devices = devices
        self._numbers: dict[Hashable, int] = {}

    def number(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, key: Hashable) -> int:
        """The number of the operation, which returned `output`; `key` says the same as the arguments, and is faster to look up."""
        try:
            known = self._numbers.get(key)
        except TypeError:  # an argument that cannot be hashed
            return self._new(func, args, kwargs, output)
        if known is None:
            known = self._numbers[key] = self._new(func, args, kwargs, output)
        return known

    def kernel(self, name: str, arguments: Sequence[Any], output: Any, options: Mapping[str, Any]) -> int:
        """The number of a kernel that is not that of an operator, with tensors and options that say how much work there is."""
        described = (*map(_text, arguments), *(f"{option}={value}" for option, value in options.items()))
        returned = output if isinstance(output, tuple) else (output,)
        results = (_text(value) for value in returned if isinstance(value, (torch.Tensor, list)))
        return self._observer.operation(name, ", ".join(described), ", ".join(results))

    def executed(self, number: int, device: torch.device | None, *, host_waits: bool) -> None:
        """The operation was queued on the current stream of the device (None is the current one). Then the host may wait for the stream."""
        index = None if device is None else device.index
        index = self._devices.current if index is None else index
        if number != NOTHING:
            self._observer.executed(number, index)
        if host_waits:
            self._observer.host_waited(index)

    def _new(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
        if getattr(func, "is_view", False) or getattr(func, "overloadpacket", None) in _WITHOUT_KERNEL:
            return NOTHING
        if not any(map(_is_on_device, pytree.tree_leaves((args, kwargs, output)))):
            return NOTHING
        declared = schema_of(func).arguments
        given = (*zip(declared, args, strict=False), *((each, kwargs[each.name]) for each in declared if each.name in kwargs))
        described = [f"{each.name}={_text(value)}" if each.kwarg_only else _text(value) for each, value in given if _matters(each, value)]
        if getattr(func, "overloadpacket", None) in _PRODUCTS and products_use_tf32() and any(map(_is_float32, args)):
            described.append("tf32=True")
        return self._observer.operation(str(func), ", ".join(described), ", ".join(_results(schema_of(func), output)))


def _matters(argument: Any, value: Any) -> bool:
    """Whether an argument of an operator, by its schema and value, says how much work there is."""
    kind = str(argument.type)
    if "Tensor" in kind:
        return isinstance(value, (torch.Tensor, list, tuple))  # a number may stand for a tensor
    return value is not None and kind not in _TYPES_LEFT_OUT and argument.name not in _NAMES_LEFT_OUT


def _results(schema: Any, output: Any) -> Iterator[str]:
    """The tensors, and lists of tensors, that an operator made; not the arguments that it changed and returned."""
    returned = output if len(schema.returns) > 1 else (output,)
    for declared, value in zip(schema.returns, returned, strict=False):
        if "Tensor" in str(declared.type) and value is not None and not (declared.alias_info and declared.alias_info.is_write):
            yield _text(value)


def _text(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _tensor_text(value)
    if isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
        return f"[{', '.join(_runs(value))}]"
    return str(value)


def _runs(values: Sequence[Any]) -> Iterator[str]:
    """The elements of a list of tensors, equal neighbours together: `float32[8] x 3`."""
    for text, run in groupby(map(_text, values)):
        count = len(tuple(run))
        yield f"{text} x {count}" if count > 1 else text


def _tensor_text(tensor: torch.Tensor) -> str:
    """`bfloat16[8,4]`; with strides in braces if the tensor is not contiguous, and with the device if it is on the host."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    sizes = ",".join(map(str, tensor.shape))
    strides = "" if tensor.layout is not torch.strided or tensor.is_contiguous() else f"{{{','.join(map(str, tensor.stride()))}}}"
    return f"{dtype}[{sizes}]{strides}{'' if _is_on_device(tensor) else '@cpu'}"


def _is_float32(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _is_on_device(value: Any) -> bool:
    """Whether a value is a tensor on the accelerator; large tensors on the host are without data, too."""
    return type(value) is FakeTensor and value.fake_device.type == ACCELERATOR
