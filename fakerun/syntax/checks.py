"""Which answer to a question about an unknown value lets the program go on.

A value that the program reads may decide an `assert`, or a condition of which one branch only raises. The way from the read to there is
followed through `not`, `and`, `or`, comparisons, names, returns to the caller and arguments of functions.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType, FunctionType
from typing import Any

from fakerun.syntax.endings import wanted_of_branch
from fakerun.syntax.frames import is_comprehension
from fakerun.syntax.names import Names
from fakerun.syntax.places import Place, Source

_FARTHEST = 12
"""How many steps between functions, and names, are followed."""

_KEEP_TRUTH = {"bool", "int", "float", "all", "any"}
"""Functions of one argument whose result is as true as their argument, or the elements of it."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the value is compared with by a check: `operator(value, other)`, or the other way round."""

    operator: Callable[[Any, Any], Any]
    other: int | float
    value_is_left: bool

    def of(self, value: Any) -> bool:
        return bool(self.operator(value, self.other) if self.value_is_left else self.operator(self.other, value))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the program needs of the value that it reads in order to go on: its truth, or that of a comparison with it."""

    truth: bool
    comparison: Comparison | None = None

    def holds(self, value: Any) -> bool:
        """Whether the program goes on with that value."""
        return (bool(value) if self.comparison is None else self.comparison.of(value)) is self.truth


@dataclass(frozen=True, slots=True)
class _Way:
    """Where the value has come to, on its way to a check."""

    node: ast.AST
    source: Source
    names: Names
    callers: Sequence[FrameType]
    """The frames that wait for the function that `node` is in, innermost first; none where the function does not run."""
    negated: bool = False
    comparison: Comparison | None = None
    steps: int = 0


def wanted(frames: Sequence[FrameType]) -> Wanted | None:
    """What lets the program go on of the value that the first frame reads; None where no check, or not only one answer, is found.

    `frames` are the program's, innermost first.
    """
    if not frames or (way := _start(frames)) is None:
        return None
    found = set(_follow(way))
    return found.pop() if len(found) == 1 else None


def _start(frames: Sequence[FrameType]) -> _Way | None:
    frame, *callers = frames
    source, node = Source.of(frame.f_code), Place.of(frame).node()
    if source is None or node is None:
        return None
    if isinstance(node, (ast.Assert, ast.If)):  # pytest, which rewrites assertions, puts what it makes there
        node = node.test
    if is_comprehension(frame.f_code) and callers:  # the function around it is the first of them
        frame, *callers = callers
    return _Way(node, source, Names.of(frame), callers)


def _follow(way: _Way) -> Iterator[Wanted]:
    """What each use of the value needs."""
    if way.steps > _FARTHEST:
        return
    for node, parent in way.source.parents(way.node):
        way = replace(way, node=node)
        if isinstance(parent, (ast.stmt, ast.Lambda)):
            yield from _at_statement(way, parent)
            return
        passed = _through_expression(way, parent)
        if passed is None:
            if isinstance(parent, (ast.Call, ast.keyword)):
                yield from _in_callee(way, parent)
            return
        way = passed


def _through_expression(way: _Way, parent: ast.AST) -> _Way | None:
    """The way to the value of an expression around; None if that is not as true as this one, or its contrary."""
    match parent:
        case ast.UnaryOp(op=ast.Not()):
            return replace(way, negated=not way.negated)
        case ast.Compare():
            return _compared(way, parent)
        case ast.BoolOp() | ast.NamedExpr() | ast.Await() | ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return way
        case ast.GeneratorExp(elt=each) | ast.ListComp(elt=each) if each is way.node:
            return way
        case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]) if name in _KEEP_TRUTH:
            return way
    return None


def _at_statement(way: _Way, parent: ast.stmt | ast.Lambda) -> Iterator[Wanted]:
    """What a statement needs of the value of an expression in it."""
    match parent:
        case ast.Assert(test=test) if test is way.node:
            yield _wanted(way, truth=True)
        case ast.If(test=test) if test is way.node:
            truth = wanted_of_branch(parent, way.source, way.names)
            if truth is not None:
                yield _wanted(way, truth=truth)
        case ast.Return() | ast.Lambda():
            yield from _in_caller(way)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            yield from _in_uses(way, name)
        case ast.AugAssign(target=ast.Name(id=name), op=ast.BitAnd() | ast.BitOr()):
            yield from _in_uses(way, name)


def _wanted(way: _Way, *, truth: bool) -> Wanted:
    return Wanted(truth is not way.negated, way.comparison)


def _compared(way: _Way, compare: ast.Compare) -> _Way | None:
    """The way after a comparison with `True`, `False`, or a number that is known without running anything."""
    if len(compare.ops) != 1 or way.comparison is not None:
        return None
    sides = compare.left, compare.comparators[0]
    other = _number(sides[0] if way.node is sides[1] else sides[1], way.names)
    if isinstance(other, bool):
        same = isinstance(compare.ops[0], (ast.Is, ast.Eq))
        if not (same or isinstance(compare.ops[0], (ast.IsNot, ast.NotEq))):
            return None
        return replace(way, negated=way.negated if same is other else not way.negated)
    compared = _COMPARISONS.get(type(compare.ops[0]))
    if compared is None or other is None or way.negated:
        return None
    return replace(way, comparison=Comparison(compared, other, way.node is sides[0]))


def _number(node: ast.expr, names: Names) -> int | float | None:
    """The value of an expression of plain numbers and names of such."""
    match node:
        case ast.Constant(value=value):
            pass
        case ast.Name() | ast.Attribute():
            value = names.value(node)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand, names)
            value = None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            numbers = _number(left, names), _number(right, names)
            value = None if None in numbers else _calculated(_ARITHMETIC[type(op)], *numbers)
        case _:
            return None
    return value if isinstance(value, (int, float)) else None


def _calculated(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return operation(float(left), float(right)) if operation is operator.pow else operation(left, right)
    except (ArithmeticError, ValueError):
        return None


def _in_caller(way: _Way) -> Iterator[Wanted]:
    """The value is what the function returns."""
    start = _start(way.callers) if way.callers else None
    if start is None or isinstance(start.node, ast.stmt):
        return
    is_inverted = isinstance(start.node, ast.Compare) and isinstance(start.node.ops[0], ast.NotIn)  # `__contains__` answered
    yield from _follow(replace(start, negated=way.negated is not is_inverted, comparison=way.comparison, steps=way.steps + 1))


def _in_uses(way: _Way, name: str) -> Iterator[Wanted]:
    """The value was given this name: each later use of it in the same function."""
    line = getattr(way.node, "end_lineno", 0)
    for use in way.source.uses(way.source.scope(way.node), name):
        if use.lineno > line:
            yield from _follow(replace(way, node=use, steps=way.steps + 1))


def _in_callee(way: _Way, parent: ast.Call | ast.keyword) -> Iterator[Wanted]:
    """The value is an argument of a function in Python: each use of the parameter there."""
    call = way.source.parent(parent) if isinstance(parent, ast.keyword) else parent
    if not isinstance(call, ast.Call) or way.node is call.func:
        return
    called = way.names.function(call.func)
    if called is None:
        return
    function, bound = called
    name = parent.arg if isinstance(parent, ast.keyword) else _parameter(function, call.args.index(way.node) + bound)  # type: ignore[arg-type]
    source = Source.of(function.__code__)
    scope = None if source is None else source.definition(function.__code__)
    if name is None or source is None or scope is None:
        return
    inside = replace(way, source=source, names=Names.in_function(function), callers=(), steps=way.steps + 1)
    for use in source.uses(scope, name):
        yield from _follow(replace(inside, node=use))


def _parameter(function: FunctionType, position: int) -> str | None:
    """The name of a positional parameter; None if the argument is among others in a tuple."""
    code = function.__code__
    return code.co_varnames[position] if position < code.co_argcount else None
