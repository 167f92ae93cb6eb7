"""Maps the device arguments that Python hands to C++.

torch's C++ compares a device argument with the tensor's own (`x.to("cuda") is x` when it is there already) and rejects device types
that the build lacks. For those functions this mode replaces `cuda` by the device type that C++ sees.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.overrides import TorchFunctionMode

from fakerun.emulate.device.devices import ACCELERATOR, Devices
from fakerun.emulate.device.pinned_storages import PinnedStorages
from fakerun.emulate.unsupported.gaps import LAZY_MODULE
from fakerun.torch_private import FakeTensor

FACTORIES = (
    "arange", "asarray", "as_tensor", "bartlett_window", "blackman_window", "empty", "empty_like", "empty_permuted", "empty_strided",
    "eye", "full", "full_like", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "ones", "ones_like", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "range", "scalar_tensor", "sparse_coo_tensor",
    "tril_indices", "triu_indices", "zeros", "zeros_like",
)  # fmt: skip
METHODS = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros", "to")

_WITHOUT_SHAPE = (UninitializedBuffer, UninitializedParameter)


class DeviceArguments(TorchFunctionMode):
    """A torch-function mode over the functions that take a device."""

    def __init__(self, devices: Devices, pinned: PinnedStorages) -> None:
        super().__init__()
        self._pinned = pinned
        self.active = True
        self._devices = devices
        table: dict[Any, Callable[..., Any]] = {getattr(torch, name): self._mapped for name in FACTORIES if hasattr(torch, name)}
        table.update({getattr(torch.Tensor, name): self._mapped for name in METHODS})
        table[torch.tensor] = self._tensor
        table[torch.as_tensor] = self._of_values
        table[torch.Tensor.new_tensor] = self._of_values
        table[torch.device] = self._device
        table[torch.Tensor.cuda] = self._cuda
        self.table = table

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Pass the call on, with its device mapped where C++ would compare or refuse it."""
        handler = self.table.get(func) if self.active else None
        if handler is not None:
            return handler(func, args, dict(kwargs) if kwargs else {})
        return func(*args, **kwargs) if kwargs else func(*args)

    def _mapped(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        # An int is a device ordinal only as a `device` keyword or as the first argument of `to`; elsewhere it is a size.
        if "device" in kwargs:
            kwargs["device"] = self._map(kwargs["device"], ordinal=True)
        method = func is torch.Tensor.to
        if method and isinstance(args[0], _WITHOUT_SHAPE):
            raise LAZY_MODULE.error()
        args = [self._map(arg, ordinal=method and position == 1) for position, arg in enumerate(args)]
        return self._made(func, args, kwargs)

    def _made(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Page-locked memory needs a driver; here it is ordinary memory of which is remembered that it is pinned."""
        if not kwargs.pop("pin_memory", False):
            return func(*args, **kwargs)
        made = func(*args, **kwargs)
        if made.device.type == "cpu":
            self._pinned.add(made)
        return made

    def _map(self, value: Any, *, ordinal: bool) -> Any:
        if ordinal and isinstance(value, int) and not isinstance(value, bool):
            value = torch.device(ACCELERATOR, value)
        elif isinstance(value, str) and value.startswith(ACCELERATOR):
            value = torch.device(value)
        if isinstance(value, torch.device) and value.type == ACCELERATOR:
            self._devices.index(value)
            self._devices.initialized = True
            return self._devices.to_cpp(value)
        return value

    def _tensor(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """`torch.tensor(data, device=...)`: the data is on the host, so build it there and copy."""
        args, kwargs = _with_values_read(args), _named_values_read(kwargs)
        device = kwargs.pop("device", None)
        if device is None:
            return self._made(func, args, kwargs)
        requires_grad = kwargs.pop("requires_grad", False)
        with torch.device("cpu"):
            tensor = self._made(func, args, kwargs)
        return tensor.to(self._map(device, ordinal=True)).requires_grad_(requires_grad)

    def _of_values(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """`torch.as_tensor(data)`, `tensor.new_tensor(data)`: like the other factories, of numbers."""
        return self._mapped(func, _with_values_read(args), _named_values_read(kwargs))

    def _device(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """`torch.device(1)` means the accelerator's ordinal."""
        if len(args) == 1 and isinstance(args[0], int) and not isinstance(args[0], bool) and not kwargs:
            return torch.device(ACCELERATOR, args[0])
        return func(*args, **kwargs)

    def _cuda(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """`x.cuda()`, `x.cuda(1)`, `x.cuda("cuda:1")`."""
        tensor, *rest = args
        if isinstance(tensor, _WITHOUT_SHAPE):
            raise LAZY_MODULE.error()
        device = kwargs.get("device", rest[0] if rest else None)
        ordinal = self._devices.index(device)
        self._devices.initialized = True
        layout = {"memory_format": kwargs["memory_format"]} if "memory_format" in kwargs else {}
        return tensor.to(self._devices.to_cpp(torch.device(ACCELERATOR, ordinal)), **layout)


def _with_values_read(args: Sequence[Any]) -> Sequence[Any]:
    return [_values_read(arg) if isinstance(arg, (list, tuple)) else arg for arg in args]


def _named_values_read(kwargs: dict[str, Any]) -> dict[str, Any]:
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
