"""The values of rank functions for every rank of the world, a column at a time: entry `r` of a column is the value on rank `r`."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from fakerun.mesh import Mesh
from fakerun.records.rank_function import Number, RankFunction, RankOperation

Column = Sequence[Any]
"""Numbers and truth values; None where the function has no value: the program would raise there (a division by zero)."""

_KEPT = 16
"""Columns that are kept: one of a large world takes tens of megabytes."""
_LARGEST_BITS = 4096
"""Integers with more bits are not computed: a power of the rank may have more digits than there is memory for."""

_FAILURES = (ArithmeticError, LookupError, TypeError, ValueError)
"""What an operation raises on ranks for which it has no value."""

_UNARY: Mapping[RankOperation, Callable[..., Number]] = {
    RankOperation.NEG: operator.neg,
    RankOperation.ABS: abs,
    RankOperation.INVERT: operator.invert,
    RankOperation.INT: int,
    RankOperation.TRUTH: bool,
}
_BINARY: Mapping[RankOperation, Callable[..., Number]] = {
    RankOperation.ADD: operator.add,
    RankOperation.SUB: operator.sub,
    RankOperation.MUL: operator.mul,
    RankOperation.TRUEDIV: operator.truediv,
    RankOperation.FLOORDIV: operator.floordiv,
    RankOperation.MOD: operator.mod,
    RankOperation.POW: operator.pow,
    RankOperation.LSHIFT: operator.lshift,
    RankOperation.RSHIFT: operator.rshift,
    RankOperation.AND: operator.and_,
    RankOperation.OR: operator.or_,
    RankOperation.XOR: operator.xor,
    RankOperation.EQ: operator.eq,
    RankOperation.NE: operator.ne,
    RankOperation.LT: operator.lt,
    RankOperation.LE: operator.le,
    RankOperation.GT: operator.gt,
    RankOperation.GE: operator.ge,
}


class NotEvaluatedError(Exception):
    """The column of a function is not computed: its values are too large."""


class RankColumns:
    """Evaluates rank functions on the ranks of a mesh. `is_created` tells whether all ranks create a group of these ranks."""

    def __init__(self, mesh: Mesh, *, ranks_per_node: int, is_created: Callable[[tuple[int, ...]], bool] = lambda _: True) -> None:
        self._mesh = mesh
        self._ranks_per_node = ranks_per_node
        self._is_created = is_created
        self._kept: dict[RankFunction, Column] = {}

    def of(self, function: RankFunction) -> Column:
        """The values of the function on all ranks.

        Raises:
            NotEvaluatedError: they are too large.
        """
        column = self._kept.pop(function, None)
        if column is None:
            column = self._evaluated(function)
        self._kept[function] = column  # the last one used is the last one to be dropped
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return column

    def _evaluated(self, function: RankFunction) -> Column:
        ranks = range(self._mesh.world_size)
        match function.operation:
            case RankOperation.RANK:
                return ranks
            case RankOperation.LOCAL_RANK:
                return list(map(operator.mod, ranks, repeat(self._ranks_per_node)))
            case RankOperation.NODE_RANK:
                return list(map(operator.floordiv, ranks, repeat(self._ranks_per_node)))
            case RankOperation.GROUP_RANK:
                return self._group_ranks(tuple(map(int, function.constants)))
            case RankOperation.CONSTANT:
                return [function.constants[0]] * len(ranks)
            case RankOperation.IN:
                return list(map(frozenset(function.constants).__contains__, self.of(function.operands[0])))
            case RankOperation.ITEM:
                places = {constant: place for place, constant in reversed(tuple(enumerate(function.constants)))}
                return list(map(places.get, self.of(function.operands[0]), repeat(-1)))
            case RankOperation.LOOKUP:
                return _mapped(function.constants.__getitem__, self.of(function.operands[0]))
            case operation if operation in _UNARY:
                return _mapped(_UNARY[operation], self.of(function.operands[0]))
            case operation:
                left, right = function.operands
                return self._combined(operation, left, right)

    def _combined(self, operation: RankOperation, left: RankFunction, right: RankFunction) -> Column:
        ours, theirs = self.of(left), self.of(right)
        if operation in (RankOperation.POW, RankOperation.LSHIFT):
            _check_size(operation, ours, theirs)
        return _mapped(_BINARY[operation], ours, theirs)

    def _group_ranks(self, members: tuple[int, ...]) -> Column:
        """The position in the group, or in its counterpart through the rank; -1 for ranks that are in none."""
        found = [-1] * self._mesh.world_size
        for ranks in self._counterparts(members):
            for position, rank in enumerate(ranks):
                found[rank] = position
        return found

    def _counterparts(self, members: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        """The group, and where it fills a box of the mesh, the same box at every other place, as far as it exists.

        Of groups that only their members create it is not known which there are: then there is one at every place.
        """
        if not members or len(members) == self._mesh.world_size or not self._mesh.is_box(members):
            return [members]
        all_create = self._is_created(members)
        moved = (tuple(map(operator.add, members, repeat(shift))) for shift in self._mesh.translations(members))
        return [ranks for ranks in moved if not all_create or self._is_created(ranks)]


def _mapped(function: Callable[..., Number], *operands: Column) -> Column:
    """The function of the operands, entry by entry; None where an operand is None or the function raises."""
    try:
        return list(map(function, *operands))
    except _FAILURES:
        return [_or_none(function, *each) for each in zip(*operands, strict=True)]


def _or_none(function: Callable[..., Number], *operands: object) -> Number | None:
    try:
        return function(*operands)
    except _FAILURES:
        return None


def _check_size(operation: RankOperation, base: Column, exponent: Column) -> None:
    """Refuse to compute integers that are too large."""
    exponents = [abs(value) for value in exponent if isinstance(value, int)]
    bases = [value.bit_length() for value in base if isinstance(value, int)]
    most = max(exponents, default=0)
    bits = most * max(bases, default=0) if operation is RankOperation.POW else most
    if bits > _LARGEST_BITS:
        raise NotEvaluatedError
