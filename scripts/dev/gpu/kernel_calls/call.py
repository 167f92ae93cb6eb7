"""Call, one call of an operation, and what its arguments are made from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

_RANDOM_BYTES = 2**28
"""Larger tensors are zeros: their values matter to no call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorArgument:
    """A tensor of random values on the device; `view` is what the call gets of it."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    needs_gradient: bool = False
    high: int | None = None
    """Integers below this; of floats None."""
    device: str = "cuda"
    pinned: bool = False
    view: Callable[[torch.Tensor], torch.Tensor] | None = None
    note: str = ""
    """Distinguishes what `view` makes of it."""

    def make(self) -> torch.Tensor:
        tensor = self._values()
        if self.pinned:
            tensor = tensor.pin_memory()
        if self.view is not None:
            tensor = self.view(tensor).detach()
        return tensor.requires_grad_() if self.needs_gradient else tensor

    def _values(self) -> torch.Tensor:
        if self.dtype is torch.bool:
            return torch.rand(self.sizes, device=self.device) > 0.5
        if self.high is not None:
            return torch.randint(self.high, self.sizes, dtype=self.dtype, device=self.device)
        if not (self.dtype.is_floating_point or self.dtype.is_complex) or torch.Size(self.sizes).numel() * 2 > _RANDOM_BYTES:
            return torch.zeros(self.sizes, dtype=self.dtype, device=self.device)
        if self.dtype.itemsize == 1:
            return torch.randn(self.sizes, device=self.device).to(self.dtype)
        return torch.randn(self.sizes, dtype=self.dtype, device=self.device)

    def __str__(self) -> str:
        sizes = ",".join(map(str, self.sizes))
        where = "" if self.device == "cuda" else "@pinned" if self.pinned else f"@{self.device}"
        below = "" if self.high is None or self.dtype is torch.bool else f"<{self.high}"
        note = f"{{{self.note}}}" if self.note else ""
        gradient = "*" if self.needs_gradient else ""
        return f"{str(self.dtype).removeprefix('torch.')}[{sizes}]{below}{note}{where}{gradient}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An argument that `make` makes: a module, an optimizer with gradients, a list of tensors."""

    make: Callable[[], Any]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`run(*arguments, **options)`, then backward of its floating-point results if `backward`."""

    label: str
    run: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    backward: bool = False
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    fresh: bool = False
    """Workspaces of cuBLAS are given back first."""

    @property
    def name(self) -> str:
        options = (f"{name}={_text(value)}" for name, value in self.options.items())
        return f"{self.label}({', '.join([*_texts(self.arguments), *options])})" + (" backward" if self.backward else "")

    def made_arguments(self) -> list[Any]:
        return [_made(argument) for argument in self.arguments]

    def made_options(self) -> dict[str, Any]:
        return {name: _made(value) for name, value in self.options.items()}


def call(label: str, run: Callable[..., Any], *arguments: Any, **options: Any) -> Call:
    """A call; `backward`, `context` and `fresh` are options of the call, the others are the operation's."""
    own = {name: options.pop(name) for name in ("backward", "context", "fresh") if name in options}
    return Call(label=label, run=run, arguments=arguments, options=options, **own)


def t(*sizes: int, dtype: torch.dtype = torch.bfloat16, grad: bool = False, **options: Any) -> TensorArgument:
    return TensorArgument(sizes=sizes, dtype=dtype, needs_gradient=grad, **options)


def g(*sizes: int, dtype: torch.dtype = torch.bfloat16, **options: Any) -> TensorArgument:
    """A tensor that needs a gradient."""
    return TensorArgument(sizes=sizes, dtype=dtype, needs_gradient=True, **options)


def f(*sizes: int, grad: bool = False, **options: Any) -> TensorArgument:
    """A float32 tensor."""
    return TensorArgument(sizes=sizes, dtype=torch.float32, needs_gradient=grad, **options)


def i(*sizes: int, high: int, dtype: torch.dtype = torch.int64, **options: Any) -> TensorArgument:
    """Indices."""
    return TensorArgument(sizes=sizes, dtype=dtype, high=high, **options)


def b(*sizes: int) -> TensorArgument:
    """A mask."""
    return TensorArgument(sizes=sizes, dtype=torch.bool)


def module(text: str, make: Callable[[], torch.nn.Module], dtype: torch.dtype = torch.float32) -> Made:
    """A module on the device."""
    return Made(make=lambda: make().to(device="cuda", dtype=dtype), text=f"{text} {str(dtype).removeprefix('torch.')}")


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """The texts, one for each run of equal ones."""
    for text, run in groupby(map(_text, values)):
        count = len(list(run))
        yield text if count == 1 else f"{count} x {text}"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_texts(value)) + "]"
    return str(value).removeprefix("torch.")


def _made(value: Any) -> Any:
    if isinstance(value, (TensorArgument, Made)):
        return value.make()
    return type(value)(map(_made, value)) if isinstance(value, (list, tuple)) else value
