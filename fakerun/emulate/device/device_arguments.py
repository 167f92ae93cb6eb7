"""Maps the device arguments that Python hands to C++.

torch's C++ compares a device argument with the tensor's own (`x.to("cuda") is x` when it is there already) and rejects device types
that the build lacks. The functions that take a device are therefore given the device type that C++ sees in the place of `cuda`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR, ordinal_as_device
from fakerun.emulate.unsupported.gaps import LAZY_MODULE
from fakerun.patching import Patches
from fakerun.torch_private import OPERATOR_IN_CPP, FakeTensor, disable_all_modes

aten = torch.ops.aten

FACTORIES = (
    "arange", "asarray", "bartlett_window", "blackman_window", "empty", "empty_like", "empty_permuted", "empty_strided",
    "eye", "full", "full_like", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "ones", "ones_like", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "range", "scalar_tensor", "sparse_coo_tensor",
    "tril_indices", "triu_indices", "zeros", "zeros_like",
)  # fmt: skip
METHODS = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros")

_WITHOUT_SHAPE = (UninitializedBuffer, UninitializedParameter)
_NO_DEVICES = frozenset({int, float, bool, list, tuple, type(None), torch.Size, torch.dtype, torch.Tensor, torch.nn.Parameter, FakeTensor})
"""Types of arguments that name no device: most of those of a factory."""
_MOVE = torch.Tensor.to


def device_arguments(context: EmulationContext) -> None:
    """Handle the functions that take a device."""
    functions, arguments = context.functions, _DeviceArguments(context)
    for name in FACTORIES:
        functions.handle(torch, name, arguments.mapped)
    for name in METHODS:
        functions.handle(torch.Tensor, name, arguments.mapped)
    functions.handle(torch, "tensor", arguments.tensor)
    functions.handle(torch, "as_tensor", arguments.of_values)
    functions.handle(torch.Tensor, "new_tensor", arguments.of_values)
    functions.handle(torch.Tensor, "to", arguments.moved)
    functions.handle(torch.Tensor, "cuda", arguments.moved_to_accelerator)


@contextmanager
def device_arguments_of_operators(context: EmulationContext) -> Iterator[None]:
    """Map the device of the operators behind `x.to(...)`, too, which compare it: dispatch modes call them again, as Python sees them."""
    arguments = _DeviceArguments(context)
    with Patches() as patches:
        for operator in (aten.to.device, aten.to.dtype_layout, aten.to):
            patches.set(operator, OPERATOR_IN_CPP, arguments.operator(getattr(operator, OPERATOR_IN_CPP)))
        yield


class _DeviceArguments:
    """Handlers of the functions that take a device."""

    def __init__(self, context: EmulationContext) -> None:
        self._devices = context.devices
        self._mode = context.mode
        self._pinned = context.pinned

    def operator(self, in_cpp: Any) -> Any:
        """An operator with its devices mapped."""
        return lambda *args, **kwargs: self.mapped(in_cpp, args, kwargs)

    def mapped(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A function that makes a tensor. An int is a device ordinal only as its `device` keyword; elsewhere it is a size."""
        if not _NO_DEVICES.issuperset(map(type, args)):
            args = [self._of_name(arg) for arg in args]
        if not kwargs:
            return func(*args)
        kwargs = dict(kwargs)
        if "device" in kwargs:
            kwargs["device"] = self._of_any(kwargs["device"])
        return self._made(func, args, kwargs) if "pin_memory" in kwargs else func(*args, **kwargs)

    def _made(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Page-locked memory needs a driver; here it is ordinary memory of which is remembered that it is pinned."""
        if not kwargs.pop("pin_memory", False):
            return func(*args, **kwargs)
        made = func(*args, **kwargs)
        if made.device.type == "cpu":
            self._pinned.add(made)
        return made

    def moved(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`x.to(...)`, whose first argument may be a device ordinal."""
        if isinstance(args[0], _WITHOUT_SHAPE):
            raise LAZY_MODULE.error()
        if "device" in kwargs:
            kwargs = {**kwargs, "device": self._of_any(kwargs["device"])}
        return func(*[self._of_any(arg) if position == 1 else self._of_name(arg) for position, arg in enumerate(args)], **kwargs)

    def moved_to_accelerator(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`x.cuda()`, `x.cuda(1)`, `x.cuda("cuda:1", non_blocking=True)`."""
        tensor, *rest = args
        if isinstance(tensor, _WITHOUT_SHAPE):
            raise LAZY_MODULE.error()
        device = kwargs.get("device", rest[0] if rest else None)
        ordinal = self._devices.index(device)
        self._devices.initialize()
        options = {name: kwargs[name] for name in ("non_blocking", "memory_format") if name in kwargs}
        options.update(zip(("non_blocking",), rest[1:], strict=False))
        return _MOVE(tensor, self._devices.to_cpp(torch.device(ACCELERATOR, ordinal)), **options)

    def tensor(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`torch.tensor(data, device=...)`: the data is on the host, so build it there and copy, which the script's modes do not see."""
        args, kwargs = _with_values_read(args), _named_values_read(kwargs)
        device = kwargs.pop("device", None)
        if device is None:
            return self._made(func, args, kwargs)
        requires_grad = kwargs.pop("requires_grad", False)
        with disable_all_modes(), self._mode:
            tensor = _MOVE(self._made(func, args, {**kwargs, "device": "cpu"}), self._of_any(device))
        tensor = aten.lift_fresh.default(tensor)
        return tensor.requires_grad_() if requires_grad else tensor  # a functional transform refuses the call, also with False

    def of_values(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`torch.as_tensor(data)`, `tensor.new_tensor(data)`: like the other factories, of numbers."""
        return self.mapped(func, _with_values_read(args), _named_values_read(kwargs))

    def _of_any(self, value: Any) -> Any:
        """The device for C++ that is meant by an ordinal, a name or a device."""
        return self._of_name(ordinal_as_device(value))

    def _of_name(self, value: Any) -> Any:
        """The device for C++ that is meant by a name or a device; anything else as it is."""
        if isinstance(value, str) and value.startswith(ACCELERATOR):
            value = torch.device(value)
        if isinstance(value, torch.device) and value.type == ACCELERATOR:
            self._devices.index(value)
            self._devices.initialize()
            return self._devices.to_cpp(value)
        return value


def _with_values_read(args: Sequence[Any]) -> Sequence[Any]:
    return [_values_read(arg) if isinstance(arg, (list, tuple)) else arg for arg in args]


def _named_values_read(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _values_read(value) if name == "data" and isinstance(value, (list, tuple)) else value for name, value in kwargs.items()}


def _values_read(data: Any) -> Any:
    """A list of numbers for C++, with the device scalars among them (`torch.tensor(losses)`) read as `.item()` reads them.

    C++ reads them past every dispatch mode (torch 2.13): "Could not run 'aten::_local_scalar_dense' with arguments from the
    'CUDA' backend".
    """
    if isinstance(data, (list, tuple)):
        kinds = set(map(type, data))  # a list may be long, and is most often of plain numbers
        return [_values_read(part) for part in data] if any(issubclass(kind, (list, tuple, torch.Tensor)) for kind in kinds) else data
    if isinstance(data, torch.Tensor) and data.numel() == 1 and (isinstance(data, FakeTensor) or data.device.type == ACCELERATOR):
        return torch.tensor(data.item(), dtype=data.dtype, device="cpu")
    return data
