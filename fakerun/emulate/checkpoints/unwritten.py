"""Objects that are not written: stand-ins, from which every rank of the job can load them again with the right shapes.

An object is pickled as `torch.save` would pickle it, but tensors are set aside: a simulated one as its description, so that it
occupies no memory, a real one with its values while it is small. A stand-in is bytes, and can be written, copied and sent as a checkpoint.
"""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch

from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.torch_private import FakeTensor, disable_all_modes

Relocation = Callable[[str], str]
"""`map_location` as a function: from the device that a tensor was saved from to the device that it is loaded to."""


MARK = b"fakerun: a checkpoint without values\n"
"""How a stand-in begins."""

LARGEST_VALUES = 16 * 2**20
"""Bytes of the largest host tensor whose values a stand-in holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    """A simulated tensor without its memory."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: str
    requires_grad: bool

    def make(self, relocate: Relocation) -> torch.Tensor:
        tensor = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=relocate(self.device))
        return tensor.requires_grad_(self.requires_grad)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrapper:
    """A tensor that wraps others (DTensor): its parts and its context."""

    kind: Any
    parts: dict[str, Any]
    context: Any
    shape: torch.Size
    stride: tuple[int, ...]

    def make(self, relocate: Relocation) -> Any:
        parts = {name: part.make(relocate) for name, part in self.parts.items()}
        return self.kind.__tensor_unflatten__(parts, self.context, self.shape, self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """A part of a wrapper that is no tensor (the device mesh of a DTensor, torch 2.13)."""

    value: Any

    def make(self, relocate: Relocation) -> Any:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Real:
    """A tensor that has values."""

    tensor: torch.Tensor

    def make(self, relocate: Relocation) -> torch.Tensor:
        return self.tensor.clone().to(relocate("cpu"))  # on the accelerator, its values stay known


class UnwrittenObject:
    """One object as it was when it was saved.

    Raises:
        pickle.PicklingError: (and whatever else pickling raises) as `torch.save` would.
    """

    def __init__(self, obj: Any) -> None:
        self._tensors: list[tuple[Any, bool]] = []
        self.simulated_count = self.simulated_bytes = self.dropped_count = 0
        self.floating_on_host = False
        numbers: dict[int, int] = {}
        alive: list[torch.Tensor] = []  # an id must not be given to another tensor meanwhile

        def set_aside(value: Any) -> int | None:
            if not isinstance(value, torch.Tensor):
                return None
            if id(value) not in numbers:
                numbers[id(value)] = len(self._tensors)
                alive.append(value)
                self._tensors.append((self._described(value), isinstance(value, torch.nn.Parameter)))
            return numbers[id(value)]

        buffer = io.BytesIO()
        _Pickler(buffer, set_aside).dump(obj)
        self._pickled = buffer.getvalue()

    def _described(self, tensor: torch.Tensor) -> Any:
        if hasattr(tensor, "__tensor_flatten__") and not isinstance(tensor, FakeTensor):
            names, context = tensor.__tensor_flatten__()
            attributes = {name: getattr(tensor, name) for name in names}
            parts = {
                name: self._described(part) if isinstance(part, torch.Tensor) else _Plain(value=part) for name, part in attributes.items()
            }
            return _Wrapper(kind=type(tensor), parts=parts, context=context, shape=tensor.shape, stride=tensor.stride())
        if not isinstance(tensor, FakeTensor):
            self.floating_on_host |= tensor.is_floating_point()
            if tensor.numel() * tensor.element_size() <= LARGEST_VALUES:
                return _Real(tensor=tensor.detach().clone())
            self.dropped_count += 1
        else:
            self.simulated_count += 1
            self.simulated_bytes += tensor.numel() * tensor.element_size()
        return _Description(
            shape=tensor.shape,
            stride=tensor.stride(),
            dtype=tensor.dtype,
            device=str(tensor.device),
            requires_grad=tensor.requires_grad and tensor.is_leaf,
        )

    def encode(self) -> bytes:
        """The stand-in."""
        with disable_all_modes():
            return MARK + pickle.dumps((self._tensors, self._pickled))

    @classmethod
    def decode(cls, stand_in: bytes) -> Self:
        """What `encode` gave."""
        unwritten = cls.__new__(cls)
        with disable_all_modes():
            unwritten._tensors, unwritten._pickled = pickle.loads(stand_in.removeprefix(MARK))
        return unwritten

    def load(self, relocate: Relocation) -> Any:
        """The object again, with new tensors where `relocate` puts them."""
        made: dict[int, Any] = {}

        def tensor(number: int) -> Any:
            if number not in made:
                description, is_parameter = self._tensors[number]
                value = description.make(relocate)
                made[number] = torch.nn.Parameter(value, value.requires_grad) if is_parameter else value
            return made[number]

        return _Unpickler(io.BytesIO(self._pickled), tensor).load()


class _Pickler(pickle.Pickler):
    """Replaces tensors by numbers."""

    def __init__(self, buffer: io.BytesIO, set_aside: Callable[[Any], int | None]) -> None:
        super().__init__(buffer, protocol=2)
        self._set_aside = set_aside

    def persistent_id(self, obj: Any) -> int | None:
        return self._set_aside(obj)


class _Unpickler(pickle.Unpickler):
    """Inserts the tensors again."""

    def __init__(self, buffer: io.BytesIO, tensor: Callable[[int], Any]) -> None:
        super().__init__(buffer)
        self._tensor = tensor

    def persistent_load(self, pid: int) -> Any:
        return self._tensor(pid)


def is_accelerator(location: str) -> bool:
    """Whether a location string names the simulated accelerator."""
    return location.split(":")[0] == ACCELERATOR
