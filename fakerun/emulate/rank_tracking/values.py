"""Integers and floats that know which function of the rank they are.

To everybody else they are the numbers: hash, text, pickle, JSON, `isinstance` and C see a plain one. numpy and torch compute plain results.
"""

import math
import operator
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, SupportsIndex

from fakerun.emulate.rank_tracking.expressions import Expression
from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import RankTracker, active, note
from fakerun.records.rank_function import RankOperation

_REPEATED = (list, tuple, str, bytes, bytearray)


class RankInt(int):
    """An integer that depends on the rank; `plain` is the integer."""

    plain: int
    expression: Expression

    def __new__(cls, *args: Any, **more: Any) -> Any:
        """Others make plain ones: `type(x)(y)`, as `statistics` does."""
        return int(*args, **more)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **more: Any) -> Any:
        return _universal_function(ufunc, method, inputs, more)

    def __float__(self) -> float:
        note("argument")
        return float(self.plain)

    def __pos__(self) -> "RankInt":
        return self

    __trunc__ = __floor__ = __ceil__ = __copy__ = conjugate = __pos__

    def __round__(self, digits: SupportsIndex | None = None) -> Any:
        if digits is None or digits.__index__() >= 0:
            return self
        note("argument")
        return round(self.plain, digits)

    @property
    def real(self) -> "RankInt":
        return self

    numerator = real

    def __deepcopy__(self, memo: Any) -> "RankInt":
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return int, (self.plain,)

    def __repr__(self) -> str:
        return RankText.of(int.__repr__(self), (self.expression,))

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        written = format(self.plain, specification)
        return RankText.of(written, (self.expression,) if specification in ("", "d") else None)


class RankFloat(float):
    """A float that depends on the rank; `plain` is the float."""

    plain: float
    expression: Expression

    def __new__(cls, *args: Any, **more: Any) -> Any:
        """Others make plain ones."""
        return float(*args, **more)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **more: Any) -> Any:
        return _universal_function(ufunc, method, inputs, more)

    def __pos__(self) -> "RankFloat":
        return self

    __copy__ = conjugate = __pos__

    def __trunc__(self) -> Any:
        return whole(self, sys._getframe(1))

    def __floor__(self) -> Any:
        return whole(self // 1, sys._getframe(1))

    def __ceil__(self) -> Any:
        return -whole(-self // 1, sys._getframe(1))

    def __round__(self, digits: SupportsIndex | None = None) -> Any:
        note("argument")
        return round(self.plain, digits)

    def __deepcopy__(self, memo: Any) -> "RankFloat":
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return float, (self.plain,)

    def __repr__(self) -> str:
        return RankText.of(float.__repr__(self), None)

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return RankText.of(format(self.plain, specification), None)


FOLLOWED = (RankInt, RankFloat)


def follow(value: Any, expression: Expression, tracker: RankTracker, frame: FrameType) -> Any:
    """The value as this function of the rank; `frame` computes it."""
    if not tracker.followable(expression, frame):
        return value
    followed: RankInt | RankFloat
    if type(value) is int:
        followed = int.__new__(RankInt, value)
    elif type(value) is float and math.isfinite(value):
        followed = float.__new__(RankFloat, value)
    else:  # a complex number, infinity
        tracker.unfollowed("argument", frame)
        return value
    followed.plain = value
    followed.expression = expression
    return followed


def whole(value: Any, frame: FrameType) -> Any:
    """`int(value)` of a followed float."""
    tracker = active.tracker
    if tracker is None or type(value) is not RankFloat:
        return int(value)
    return follow(int(value.plain), tracker.expressions.unary(RankOperation.INT, value.expression), tracker, frame)


def _operand(other: Any, tracker: RankTracker) -> tuple[Any, Expression] | None:
    """The number and its expression; None if it is no number of Python's."""
    kind = type(other)
    if kind is int or kind is float:
        return other, tracker.expressions.constant(other)
    if kind is RankInt or kind is RankFloat:
        return other.plain, other.expression
    if isinstance(other, (bool, int)):
        return int(other), tracker.expressions.constant(int(other))
    return None


def _arithmetic(operation: RankOperation, compute: Callable[[Any, Any], Any], *, reflected: bool) -> Any:
    def method(self: Any, other: Any, *modulus: Any) -> Any:
        tracker = active.tracker
        operand = None if tracker is None else _operand(other, tracker)
        if tracker is None or operand is None or modulus:
            return _unfollowed(self, other, *modulus, compute=compute, reflected=reflected)
        plain, right = operand
        left = self.expression
        value = compute(plain, self.plain) if reflected else compute(self.plain, plain)
        if reflected:
            left, right = right, left
        is_sum = operation is RankOperation.ADD and type(value) is int
        expression = tracker.expressions.total(left, right) if is_sum else tracker.expressions.binary(operation, left, right)
        return follow(value, expression, tracker, sys._getframe(1))

    return method


def _unfollowed(self: Any, other: Any, *modulus: Any, compute: Callable[[Any, Any], Any], reflected: bool) -> Any:
    """With anything but a number: a tensor or an array computes with the plain number; a list is repeated."""
    if modulus:
        note("argument", depth=2)
        return pow(self.plain, other, *modulus)
    if isinstance(other, _REPEATED) and compute is operator.mul:
        note("argument", depth=2)
        return NotImplemented
    if active.tracker is None and isinstance(other, (int, float)):
        other = getattr(other, "plain", other)
        return compute(other, self.plain) if reflected else compute(self.plain, other)
    return NotImplemented


def _comparison(operation: RankOperation, compare: Callable[[Any, Any], bool]) -> Any:
    def method(self: Any, other: Any) -> Any:
        tracker = active.tracker
        if tracker is None:
            return compare(self.plain, getattr(other, "plain", other)) if isinstance(other, (int, float)) else NotImplemented
        operand = _operand(other, tracker)
        if operand is None:
            return NotImplemented
        plain, right = operand
        outcome = compare(self.plain, plain)
        if type(plain) is int or math.isfinite(plain):  # all ranks are smaller than infinity
            tracker.test(operation, self.expression, right, int(outcome), sys._getframe(1))
        return outcome

    return method


def _unary(operation: RankOperation, compute: Callable[[Any], Any]) -> Any:
    def method(self: Any) -> Any:
        value, tracker = compute(self.plain), active.tracker
        if tracker is None:
            return value
        return follow(value, tracker.expressions.unary(operation, self.expression), tracker, sys._getframe(1))

    return method


def _truth(self: Any) -> bool:
    outcome = bool(self.plain)
    if active.tracker is not None:
        expression = active.tracker.expressions.unary(RankOperation.TRUTH, self.expression)
        active.tracker.tested(expression, int(outcome), sys._getframe(1))
    return outcome


def _divided(self: Any, other: Any) -> Any:
    quotient = self.__floordiv__(other)
    return NotImplemented if quotient is NotImplemented else (quotient, self.__mod__(other))


def _dividing(self: Any, other: Any) -> Any:
    quotient = self.__rfloordiv__(other)
    return NotImplemented if quotient is NotImplemented else (quotient, self.__rmod__(other))


def _plain_method(name: str) -> Any:
    def method(self: Any, *args: Any, **more: Any) -> Any:
        note("argument")
        return getattr(self.plain, name)(*args, **more)

    return method


def _universal_function(ufunc: Any, method: str, inputs: tuple[Any, ...], more: dict[str, Any]) -> Any:
    """Functions and operators of numpy: of plain numbers. A comparison with one number is a test like Python's."""
    plain = [each.plain if isinstance(each, FOLLOWED) else each for each in inputs]
    result = getattr(ufunc, method)(*plain, **more)
    operation = _NUMPY_COMPARISONS.get(ufunc.__name__)
    tracker = active.tracker
    if tracker is None:
        return result
    frame = sys._getframe(2)
    if operation is not None and method == "__call__" and all(getattr(each, "shape", ()) == () for each in plain):
        # An array without axes, or a number of numpy's.
        sides = [_operand(each if isinstance(each, FOLLOWED) else operator.attrgetter("item")(each)(), tracker) for each in inputs]
        known = [side[1] for side in sides if side is not None]
        if len(known) == 2:
            tracker.test(operation, known[0], known[1], int(result), frame)
            return result
    tracker.unfollowed("argument", frame)
    return result


_NUMPY_COMPARISONS = {
    "equal": RankOperation.EQ, "not_equal": RankOperation.NE, "less": RankOperation.LT,
    "less_equal": RankOperation.LE, "greater": RankOperation.GT, "greater_equal": RankOperation.GE,
}  # fmt: skip

_ARITHMETIC: dict[str, tuple[RankOperation, Callable[[Any, Any], Any]]] = {
    "add": (RankOperation.ADD, operator.add),
    "sub": (RankOperation.SUB, operator.sub),
    "mul": (RankOperation.MUL, operator.mul),
    "truediv": (RankOperation.TRUEDIV, operator.truediv),
    "floordiv": (RankOperation.FLOORDIV, operator.floordiv),
    "mod": (RankOperation.MOD, operator.mod),
    "pow": (RankOperation.POW, operator.pow),
}
_BITS: dict[str, tuple[RankOperation, Callable[[Any, Any], Any]]] = {
    "lshift": (RankOperation.LSHIFT, operator.lshift),
    "rshift": (RankOperation.RSHIFT, operator.rshift),
    "and": (RankOperation.AND, operator.and_),
    "or": (RankOperation.OR, operator.or_),
    "xor": (RankOperation.XOR, operator.xor),
}
_COMPARISONS: dict[str, tuple[RankOperation, Callable[[Any, Any], bool]]] = {
    "eq": (RankOperation.EQ, operator.eq),
    "ne": (RankOperation.NE, operator.ne),
    "lt": (RankOperation.LT, operator.lt),
    "le": (RankOperation.LE, operator.le),
    "gt": (RankOperation.GT, operator.gt),
    "ge": (RankOperation.GE, operator.ge),
}


def _add_operators(kind: type, plain: type, binary: dict[str, tuple[RankOperation, Callable[[Any, Any], Any]]]) -> None:
    for name, (operation, compute) in binary.items():
        setattr(kind, f"__{name}__", _arithmetic(operation, compute, reflected=False))
        setattr(kind, f"__r{name}__", _arithmetic(operation, compute, reflected=True))
    for name, (operation, compare) in _COMPARISONS.items():
        setattr(kind, f"__{name}__", _comparison(operation, compare))
    setattr(kind, "__neg__", _unary(RankOperation.NEG, operator.neg))  # noqa: B010 - not of a class that mypy knows
    for name, method in {
        "__abs__": _unary(RankOperation.ABS, abs),
        "__bool__": _truth,
        "__hash__": plain.__hash__,
        "__divmod__": _divided,
        "__rdivmod__": _dividing,
    }.items():
        setattr(kind, name, method)
    for name in ("bit_length", "bit_count", "to_bytes", "as_integer_ratio", "hex", "is_integer"):
        if hasattr(plain, name):
            setattr(kind, name, _plain_method(name))


_add_operators(RankInt, int, _ARITHMETIC | _BITS)
_add_operators(RankFloat, float, _ARITHMETIC)
setattr(RankInt, "__invert__", _unary(RankOperation.INVERT, operator.invert))  # noqa: B010
