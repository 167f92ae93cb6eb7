"""What an operator's result depends on, and how to make the result again without running the operator.

The result of nearly every operator on simulated tensors is determined by the metadata of its arguments. `Signature` turns a call into
a hashable key of just that; `Recipe` makes fresh outputs for a key that was seen before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.device.global_state import beginning_of_key
from fakerun.emulate.device.plain_tensors import META, is_plain, plain_view
from fakerun.torch_private import FakeTensor, storage_id

empty_strided = torch.empty_strided  # not the one that answers scripts, which costs more
_NO_TENSORS = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format})
"""Types of most arguments that are no tensors: asking the class of tensors about a value costs more."""
_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


class ForeignTensorError(Exception):
    """An argument is a tensor subclass that must unwrap itself first (DTensor, a quantised tensor, a user's subclass)."""


class Signature:
    """The arguments of one operator call: a hashable key, whether a simulated tensor is among them, on which device, and which are real."""

    __slots__ = ("_described", "device", "host_waits", "operation", "real", "simulated")

    def __init__(self) -> None:
        self._described: list[Any] = []
        self.real: list[torch.Tensor] = []
        self.simulated = False
        self.device: torch.device | None = None
        """That of a simulated argument."""
        self.operation: int | None = None
        """The number of the operation, if it is known already."""
        self.host_waits = False
        """Whether the host waits for what the operation computes, on which the shape of its result depends."""

    def key_of(self, func: Any) -> tuple[Any, ...]:
        """What the result of `func` with these arguments depends on. Most calls, of views and on the host, need no key."""
        return (*beginning_of_key(func), *self._described)

    def numbers(self) -> Iterator[int]:
        """The integers among the arguments."""
        return (value for value in self._described if type(value) is int)

    def add(self, values: Sequence[Any]) -> None:
        """Describe positional arguments or the elements of a list."""
        append = self._described.append
        for value in values:
            kind = type(value)
            if kind is FakeTensor:
                self.simulated = True
                append(value.shape)
                append(value.stride())
                append(value.dtype)
                self.device = value.fake_device
                append(self.device)
            elif kind is list or kind is tuple:
                append(kind)
                append(len(value))
                self.add(value)
            elif kind not in _NO_TENSORS and isinstance(value, torch.Tensor):
                self._add_real(kind, value)
            else:
                append(kind)
                append(value)

    def add_named(self, named: Mapping[str, Any]) -> None:
        """Describe keyword arguments."""
        for name, value in named.items():
            self._described.append(name)
            self.add((value,))

    def _add_real(self, kind: type, value: torch.Tensor) -> None:
        if kind not in _PLAIN and unwraps_itself(kind):
            raise ForeignTensorError
        self.real.append(value)
        # `size()`, not `shape`: the uninitialised parameters of lazy modules have that.
        layout = tuple(value.stride()) if value.layout is torch.strided else value.layout
        self._described.extend((value.size(), layout, value.dtype, value.device))


def _dispatch_of(kind: type) -> Any:
    return getattr(kind, "__torch_dispatch__", None)


class _NewTensor:
    """Makes a tensor with its own storage."""

    __slots__ = ("device", "dtype", "shape", "stride")

    def __init__(self, tensor: Any) -> None:
        self.shape, self.stride, self.dtype, self.device = tensor.shape, tensor.stride(), tensor.dtype, tensor.fake_device


class _Argument:
    """Returns an argument of the call (in-place operators)."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class _View:
    """Makes a view of an argument of the call, where the operator does not say that it returns one."""

    __slots__ = ("dtype", "offset", "position", "shape", "stride")

    def __init__(self, position: int, source: Any, view: Any) -> None:
        self.position = position
        self.shape, self.stride, self.dtype = view.shape, view.stride(), view.dtype
        self.offset = view.storage_offset() - source.storage_offset()


class Recipe:
    """How to make an operator's outputs from its arguments."""

    __slots__ = ("_parts", "_sequence", "_viewed")

    def __init__(self, parts: Sequence[Any], sequence: type | None) -> None:
        self._parts = tuple(parts)
        self._sequence = sequence
        self._viewed = tuple(part.position for part in parts if type(part) is _View)

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether the outputs can be made from these arguments, which have the signature of the recipe."""
        return all(is_plain(args[position]) for position in self._viewed)

    def make(self, factory: Any, args: Sequence[Any], made: list[Any]) -> Any:
        """The outputs; those with a storage of their own are also appended to `made`. The arguments fit."""
        outputs = []
        for part in self._parts:
            kind = type(part)
            if kind is _NewTensor:
                output = factory(empty_strided(part.shape, part.stride, dtype=part.dtype, device=META), part.device)
                made.append(output)
            elif kind is _View:
                source = args[part.position]
                output = factory(plain_view(source, part.shape, part.stride, part.offset, part.dtype), source.fake_device)
            else:
                output = args[part.position] if kind is _Argument else part
            outputs.append(output)
        return outputs[0] if self._sequence is None else self._sequence(outputs)


def recipe_for(output: Any, args: Sequence[Any]) -> Recipe | None:
    """The recipe that reproduces `output`, or None if only running the operator reproduces how it shares storage."""
    sequence = type(output) if isinstance(output, (list, tuple)) else None
    if sequence not in (None, list, tuple):
        return None  # named tuples of `torch.return_types` are rare enough to be run
    storages = {storage_id(arg.untyped_storage()) for arg in args if type(arg) is FakeTensor}
    parts = []
    for value in output if sequence else (output,):
        part = _part_for(value, args, storages)
        if part is None and value is not None:
            return None
        parts.append(part)
    return Recipe(parts, sequence)


def _part_for(value: Any, args: Sequence[Any], storages: set[int]) -> Any:
    """One part of a recipe; None when the value cannot be reproduced. `storages` grows by the storage of a new tensor."""
    if type(value) is not FakeTensor:
        return value if isinstance(value, (int, float, bool)) else None
    for position, arg in enumerate(args):
        if arg is value:
            return _Argument(position)
    storage = value.untyped_storage()
    sharing = [i for i, arg in enumerate(args) if type(arg) is FakeTensor and storage_id(arg.untyped_storage()) == storage_id(storage)]
    if len(sharing) == 1 and is_plain(value) and is_plain(args[sharing[0]]):  # of several it is not known whose view it is
        return _View(sharing[0], args[sharing[0]], value)
    dense = value.layout is torch.strided and storage.nbytes() == _span_bytes(value) and value.storage_offset() == 0
    if not dense or storage_id(storage) in storages or value.is_conj() or value.is_neg() or value.constant is not None:
        return None
    storages.add(storage_id(storage))
    return _NewTensor(value)


def _span_bytes(tensor: torch.Tensor) -> int:
    """Bytes from a strided tensor's first to past its last element."""
    if tensor.numel() == 0:
        return 0
    return (1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))) * tensor.element_size()


def unwraps_itself(kind: type) -> bool:
    """Whether tensors of this class implement operators themselves, which has precedence."""
    return kind not in _PLAIN and _dispatch_of(kind) is not _dispatch_of(torch.Tensor)
