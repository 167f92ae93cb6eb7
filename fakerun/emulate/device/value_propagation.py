"""Propagates known values through operators.

A value that came from the host (sequence lengths, position ids, masks, counters) stays known through operators all of whose operands are
known: those are also computed on the host. What an operator makes from nothing is known, and so is what it writes over. A write with
unknown values makes what it writes to unknown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any

import torch

from fakerun.emulate.device.known_values import KnownValues, largest_bytes
from fakerun.emulate.device.mutations import MutatedArguments
from fakerun.torch_private import FakeTensor, is_builtin_operator, pytree

aten = torch.ops.aten

_FILLING: dict[Any, Callable[[Sequence[Any]], Any]] = {
    **{packet.default: lambda args: 0 for packet in (aten.zeros, aten.zeros_like, aten.new_zeros)},
    **{packet.default: lambda args: 1 for packet in (aten.ones, aten.ones_like, aten.new_ones)},
    **{packet.default: lambda args: args[1] for packet in (aten.full, aten.full_like)},
    aten.new_full.default: lambda args: args[2],
    aten.scalar_tensor.default: lambda args: args[0],
    aten.zero_.default: lambda args: 0,
    aten.fill_.Scalar: lambda args: args[1],
}
"""Operators whose result has the same value everywhere, and which that is. (`empty` is not among them: what it holds is not known.)"""

_COUNTING = {aten.arange.default, aten.arange.start, aten.arange.start_step, aten.eye.default, aten.eye.m, aten.linspace.default}
_COUNTING |= {aten.tril_indices.default, aten.triu_indices.default}
"""Operators that make a tensor from numbers."""

_PLACING = {
    **dict.fromkeys((aten.copy_.default, aten.fill_.Tensor), 1),
    **dict.fromkeys((aten.index_put_.default, aten.masked_fill_.Scalar, aten.masked_fill_.Tensor), 2),
    **dict.fromkeys((aten.scatter_.src, aten.scatter_.value, aten.index_copy_.default), 3),
    **dict.fromkeys((aten.index_fill_.int_Scalar, aten.index_fill_.int_Tensor), 3),
}
"""Operators that put values into places of their first argument, which need not be known as a whole; where the values stand."""


def _histc(values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return torch.histc(values.double(), *args, **kwargs).to(values.dtype)


_UNWRITTEN = {aten.empty.memory_format, aten.empty_strided.default}
"""Operators with which programs make memory that they then write to themselves."""

_UNDEFINED = {
    *(aten.empty.memory_format, aten.empty_strided.default, aten.empty_permuted.default, aten.resize_.default, aten.resize_as_.default),
    *(aten.empty_like.default, aten.new_empty.default, aten.new_empty_strided.default),
}
"""Operators whose result holds anything."""

_ON_THE_HOST = {aten.histc.default: _histc}
"""Operators that take more dtypes on CUDA than on the host (torch 2.13: `histc` of integers)."""


class _Effect(Enum):
    """What an operator does to values."""

    NOTHING = auto()
    """It returns a view, which shares its base's contents."""

    MAKES_UNKNOWN = auto()
    """The result is random, or whatever was in memory, or a custom operator's, which shall not be run for its values."""

    FILLS = auto()
    COUNTS = auto()
    PLACES = auto()
    COMPUTES = auto()


class ValuePropagation:
    """Called for every operator that was simulated."""

    def __init__(self, known: KnownValues, mutations: MutatedArguments) -> None:
        self._known = known
        self._mutations = mutations
        self._effects: dict[Any, _Effect] = {}

    def propagate(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """`func` returned `output`. Real arguments are still real."""
        effect = self._effects.get(func) or self._effects.setdefault(func, _effect_of(func))
        if effect is _Effect.NOTHING or self._followed(effect, func, args, kwargs, output):
            return
        if self._known:
            for tensor in self._mutations.of(func, args, kwargs):
                self._known.forget(tensor)

    def _followed(self, effect: _Effect, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> bool:
        """Whether the operator's effect on values is known."""
        if effect is _Effect.COMPUTES:
            return self._may_be_known(args) and self._computed(effect, func, args, kwargs, output)
        if type(output) is not FakeTensor:
            return False
        if func in _UNWRITTEN:
            self._known.remember_unwritten(output)
            return True
        if effect is _Effect.FILLS:
            self._known.remember_fill(output, _FILLING[func](args))
            return True
        if effect is _Effect.COUNTS:
            return self._computed(effect, func, args, kwargs, output)
        if effect is _Effect.PLACES:
            return all(map(self._may_be_known, args[1:])) and self._placed(func, args, output)
        return False

    def _may_be_known(self, args: Any) -> bool:
        """A quick look at whether all tensors among positional arguments may be known."""
        if isinstance(args, torch.Tensor):
            return self._known.may_know(args)
        if not isinstance(args, (list, tuple)):
            return True
        return all(map(self._may_be_known, args))

    def _computed(self, effect: _Effect, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> bool:
        """Compute on the host what `func` did; it also does in place there what it does in place."""
        blank = {id(tensor): _blank(tensor) for tensor in self._mutations.of(func, (), kwargs)}  # `out=`: what it held does not matter
        operands = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and id(leaf) not in blank]
        made = [leaf for leaf in pytree.tree_leaves(output) if type(leaf) is FakeTensor]
        assumed = self._known.assumed_of_any(operands)
        if any(_nbytes(tensor) > largest_bytes(tensor.dtype, assumed) for tensor in (*operands, *made)):
            return False
        host = {id(operand): self._known.of(operand) for operand in operands}
        if any(values is None for values in host.values()) or not (host or effect is _Effect.COUNTS):
            return False
        try:
            result = _on_the_host(func, args, kwargs, host | blank)
        except (RuntimeError, NotImplementedError):  # the host need not have every kernel
            return False
        computed = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if [values.shape for values in computed] != [tensor.shape for tensor in made]:  # as of batch norm: CUDA's kernel returns more
            return False
        for tensor in self._mutations.of(func, args, {}):
            self._known.taint(tensor, assumed)
        for tensor, values in zip(made, computed, strict=True):
            if id(tensor) not in host:
                self._known.remember(tensor, values, assumed=assumed)
        return True

    def _placed(self, func: Any, args: Sequence[Any], output: torch.Tensor) -> bool:
        """Known values were put into known places."""
        target, *rest = args
        operands = [leaf for leaf in pytree.tree_leaves(rest) if isinstance(leaf, torch.Tensor)]
        assumed = self._known.assumed_of_any(operands)
        host_rest = pytree.tree_map_only(torch.Tensor, self._known.of, rest)
        if any(self._known.of(operand) is None for operand in operands) or _reads_target(func, args):
            return False
        parts = self._known.to_write(target, assumed=assumed)
        if parts is None:
            return False
        contents, marks = parts
        func(contents, *host_rest)
        if marks is not None:
            func(marks, *_marks(host_rest, _PLACING[func] - 1, marks.dtype))
        return True


def _effect_of(func: Any) -> _Effect:
    if func.is_view or func is aten._unsafe_view.default:
        return _Effect.NOTHING
    if func in _UNDEFINED or torch.Tag.nondeterministic_seeded in func.tags or not is_builtin_operator(func):
        return _Effect.MAKES_UNKNOWN
    if func in _FILLING:
        return _Effect.FILLS
    if func in _COUNTING:
        return _Effect.COUNTS
    return _Effect.PLACES if func in _PLACING else _Effect.COMPUTES


def _on_the_host(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], values: Mapping[int, Any]) -> Any:
    """`func` with the values of each tensor, by its id."""
    host_args, host_kwargs = pytree.tree_map_only(torch.Tensor, lambda tensor: values[id(tensor)], (tuple(args), dict(kwargs)))
    if "device" in host_kwargs:
        host_kwargs["device"] = torch.device("cpu")
    return _ON_THE_HOST.get(func, func)(*host_args, **host_kwargs)


def _reads_target(func: Any, args: Sequence[Any]) -> bool:
    return func is aten.index_put_.default and len(args) > 3 and bool(args[3])  # accumulate


def _marks(rest: Sequence[Any], position: int, dtype: torch.dtype) -> Iterator[Any]:
    """The arguments of a write, with all bits set in the place of its values."""
    for index, argument in enumerate(rest):
        if index != position:
            yield argument
        elif isinstance(argument, torch.Tensor):
            yield torch.full(argument.shape, -1, dtype=dtype, device="cpu")
        else:
            yield -1


def _blank(like: torch.Tensor) -> torch.Tensor:
    return torch.empty(0, dtype=like.dtype, device="cpu")


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
