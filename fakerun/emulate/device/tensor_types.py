"""The old names of tensor types: `x.type()`, `x.type("torch.cuda.HalfTensor")`, `torch.cuda.FloatTensor(...)`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR, CPP_ACCELERATOR
from fakerun.patching import Patches

_DTYPES = {
    "HalfTensor": torch.float16, "BFloat16Tensor": torch.bfloat16, "FloatTensor": torch.float32, "DoubleTensor": torch.float64,
    "ByteTensor": torch.uint8, "CharTensor": torch.int8, "ShortTensor": torch.int16, "IntTensor": torch.int32, "LongTensor": torch.int64,
    "BoolTensor": torch.bool,
}  # fmt: skip
_PREFIX = f"torch.{ACCELERATOR}."


class _TensorType(type):
    """A legacy tensor type of the accelerator: calling it makes a tensor, tensors of its dtype there are its instances."""

    def __call__(cls, *args: Any) -> torch.Tensor:
        if args and isinstance(args[0], (list, tuple)):
            return torch.tensor(args[0], dtype=_DTYPES[cls.__name__], device=ACCELERATOR)
        return torch.empty(*args, dtype=_DTYPES[cls.__name__], device=ACCELERATOR)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, torch.Tensor) and instance.is_cuda and instance.dtype is _DTYPES[cls.__name__]


@contextmanager
def tensor_types(_: EmulationContext) -> Iterator[None]:
    """Accept and return the accelerator's type names until the context ends."""
    original = torch.Tensor.type

    def type_of(self: torch.Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        if dtype is None:
            return original(self).replace(f"torch.{CPP_ACCELERATOR}.", _PREFIX)
        name = dtype if isinstance(dtype, str) else f"{_PREFIX}{dtype.__name__}" if isinstance(dtype, _TensorType) else ""
        if not name.startswith(_PREFIX):
            return original(self, dtype, non_blocking, **kwargs)
        return self.to(torch.device(ACCELERATOR), _DTYPES[name.removeprefix(_PREFIX)], non_blocking=non_blocking)

    with Patches() as patches:
        patches.set(torch.Tensor, "type", type_of)
        patches.set_all(torch.cuda, {name: _TensorType(name, (), {}) for name in _DTYPES})
        yield
