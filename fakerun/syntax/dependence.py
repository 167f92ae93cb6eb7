"""Whether an exception follows from a value that the program read and that was made up.

Followed are the test of the assertion that failed, the conditions that led to a `raise`, and the expression that raised: through names,
attributes of `self`, returned values and arguments, to an expression that read such a value. What passes through a tensor on the device,
or through code that cannot be read, is not followed: such a failure stays the program's own.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from fakerun.call_site import Owner, owner
from fakerun.syntax.endings import Ending, blocks, endings, is_failing_call
from fakerun.syntax.frames import is_comprehension
from fakerun.syntax.names import Names
from fakerun.syntax.places import Place, Scope, Source, within

Read = TypeVar("Read")

_PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, range, type(None))


class Reads(Generic[Read]):
    """The expressions that read made-up values, by where they are: the reads themselves, and calls that return what they read."""

    def __init__(self, reads: Iterable[tuple[Sequence[Place], Read]] = ()) -> None:
        self._reads = tuple(reads)

    def __iter__(self) -> Iterator[Read]:
        return (read for _, read in self._reads)

    @cached_property
    def _by_node(self) -> dict[ast.AST, Read]:
        by_node: dict[ast.AST, Read] = {}
        for places, read in self._reads:
            for node in _returned_through(places):
                by_node.setdefault(node, read)
        return by_node

    @cached_property
    def _in_library(self) -> dict[ast.AST, Read]:
        """The program's calls of libraries that read a value on its behalf."""
        by_node: dict[ast.AST, Read] = {}
        for places, read in self._reads:
            call = next((place for place in places if owner(place.code.co_filename) is Owner.USER), None)
            node = None if call is None else call.node()
            if node is not None:
                by_node.setdefault(node, read)
        return by_node

    def changed_by(self, call: ast.Call) -> Read | None:
        """The read by which a call of a library puts a value into one of its arguments (`all_gather_object`, `copy_`)."""
        return self._in_library.get(call)

    def within(self, expression: ast.AST) -> Read | None:
        """The first read in an expression."""
        if not self._by_node:
            return None
        return next((self._by_node[node] for node in ast.walk(expression) if node in self._by_node), None)


@dataclass(frozen=True, slots=True)
class _Level:
    """One call in the traceback of an exception."""

    frame: FrameType
    place: Place
    source: Source
    node: ast.AST
    scope: Scope


def cause(error: BaseException, reads: Reads[Read]) -> Read | None:
    """The read that an exception follows from; None if that is not certain."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        levels = list(_levels(each.__traceback__))
        if levels and (found := _cause_of(levels, each, reads)) is not None:
            return found
        handled = each.__cause__ or each.__context__
        if not (levels and handled is not None and _is_in_handler(levels[-1])):
            return None
        each = handled
    return None


def _cause_of(levels: list[_Level], error: BaseException, reads: Reads[Read]) -> Read | None:
    """Look at what raised, and, while nothing there decided it, at what called it."""
    if not (levels[-1].place.raises or isinstance(error, SystemExit)):
        return _depends(levels, (levels[-1].node,), reads)
    while levels:
        conditions = _conditions(levels[-1])
        if conditions:
            return _depends(levels, conditions, reads)
        levels = levels[:-1]
        if levels and not _is_failing(levels[-1]):
            return None
    return None


def _is_failing(level: _Level) -> bool:
    """Whether the call can do nothing but raise, so that what matters is why it was made."""
    return isinstance(level.node, ast.Call) and is_failing_call(level.node, Names.of(level.frame))


def _levels(entry: TracebackType | None) -> Iterator[_Level]:
    """The calls of a traceback, outermost first, up to the first without a source. Fakerun's are passed over."""
    while entry is not None:
        code = entry.tb_frame.f_code
        if owner(code.co_filename) is not Owner.FAKERUN:
            place = Place(code, entry.tb_lasti)
            source, node = Source.of(code), place.node()
            if source is not None and node is not None:
                yield _Level(entry.tb_frame, place, source, node, source.scope(node))
        entry = entry.tb_next


def _conditions(level: _Level) -> Sequence[ast.expr]:
    """The conditions that decided that the statement which raises runs: the nearest; none if it runs whenever its function does."""
    statement = level.source.statement(level.node)
    if statement is None:
        return ()
    if isinstance(statement, ast.Assert):
        return (statement.test,)
    names = Names.of(level.frame)
    for node, parent in level.source.parents(statement):
        left_before = [each.test for each in _earlier_siblings(node, parent) if _may_leave(each, names)]
        if isinstance(parent, (ast.If, ast.While)):
            return (*left_before, parent.test)
        if left_before:
            return tuple(left_before)
        if isinstance(parent, (*Scope.__args__, ast.ExceptHandler)):
            break
    return ()


def _earlier_siblings(node: ast.AST, parent: ast.AST) -> Iterator[ast.If]:
    for block in blocks(parent):
        if node in block:
            yield from (each for each in block[: block.index(node)] if isinstance(each, ast.If))


def _may_leave(branch: ast.If, names: Names) -> bool:
    return Ending.LEAVES in endings(branch.body, names) | endings(branch.orelse, names)


def _is_in_handler(level: _Level) -> bool:
    return any(isinstance(parent, ast.ExceptHandler) for _, parent in level.source.parents(level.node))


def _depends(levels: list[_Level], expressions: Iterable[ast.AST], reads: Reads[Read]) -> Read | None:
    """The read that one of these expressions, of the innermost level, depends on."""
    level = levels[-1]
    names = Names.of(level.frame)
    waiting: list[tuple[ast.AST, bool]] = [(expression, True) for expression in expressions]
    seen: set[str] = set()
    while waiting:
        expression, follow = waiting.pop()
        if (found := reads.within(expression)) is not None:
            return found
        for name in _named(expression) if follow else ():
            if (text := ast.unparse(name)) in seen:
                continue
            seen.add(text)
            follow_values = _is_plain(names.value(name))  # of a device tensor only what was read to make it is looked at
            waiting += ((assigned, follow_values) for assigned in _assigned(level, name, text))
            if any((found := reads.changed_by(call)) is not None for call in _calls_given(level.scope, text)):
                return found
            if text in _parameters(level) and len(levels) > 1 and follow_values:
                found = _depends(levels[:-1], _arguments(levels[-2], text, level), reads)
                if found is not None:
                    return found
    return None


def _named(expression: ast.AST) -> Iterator[ast.expr]:
    """Names, and attributes of names, that an expression reads."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            yield node


def _is_plain(value: Any) -> bool:
    """Whether a value is host data: numbers, texts, collections, arrays, host tensors. A device tensor, a module or an object is not."""
    kind = type(value)
    return isinstance(value, _PLAIN) or kind.__module__.partition(".")[0] == "numpy" or kind.__qualname__ == "Tensor"


def _assigned(level: _Level, name: ast.expr, text: str) -> Iterator[ast.AST]:
    """What is assigned to a name in the scope that it belongs to, or to an attribute of `self` anywhere in its class."""
    local = list(_assignments(level.scope, text))
    yield from local
    if isinstance(name, ast.Attribute):
        for _, parent in level.source.parents(level.node):
            if isinstance(parent, ast.ClassDef):
                for method in parent.body:
                    if method is not level.scope:
                        yield from _assignments(method, text)
    elif not local and text not in _parameters(level):
        for _, parent in level.source.parents(level.scope):
            if isinstance(parent, Scope):
                yield from _assignments(parent, text)


def _assignments(scope: ast.AST, text: str) -> Iterator[ast.AST]:
    """The expressions whose values a scope assigns to a name or attribute."""
    for node in within(scope):
        match node:
            case ast.Assign(targets=targets, value=value) if any(text in _targets(target) for target in targets):
                yield value
            case ast.AnnAssign(target=target, value=ast.expr() as value) if text in _targets(target):
                yield value
            case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value) if text in _targets(target):
                yield value
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value) if text in _targets(target):
                yield value
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="append" | "extend" | "update" | "add")) if owner == text:
                yield from node.args


def _calls_given(scope: ast.AST, text: str) -> Iterator[ast.Call]:
    """Calls that may change what a name holds: methods of it, and functions that it is passed to (`all_gather_object`)."""
    for node in within(scope):
        if isinstance(node, ast.Call):
            given = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
            if any(isinstance(each, (ast.Name, ast.Attribute)) and ast.unparse(each) == text for each in given):
                yield node


def _targets(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name() | ast.Attribute():
            yield ast.unparse(target)
        case ast.Subscript(value=value) | ast.Starred(value=value):
            yield from _targets(value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _targets(element)


def _parameters(level: _Level) -> list[str]:
    arguments = getattr(level.scope, "args", None)
    if not isinstance(arguments, ast.arguments):
        return []
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return [each.arg for each in named if each is not None]


def _arguments(caller: _Level, parameter: str, callee: _Level) -> list[ast.AST]:
    """The expressions that a call passes as a parameter; all of them where the call does not say which."""
    call = caller.node
    if not isinstance(call, ast.Call):
        return [call]
    keyword = [each.value for each in call.keywords if each.arg == parameter]
    if keyword:
        return list(keyword)
    called = Names.of(caller.frame).function(call.func)
    position = _parameters(callee).index(parameter) - (0 if called is None else called[1])
    if 0 <= position < len(call.args) and not any(isinstance(each, ast.Starred) for each in call.args[: position + 1]):
        return [call.args[position]]
    unpacked = [each.value for each in call.args if isinstance(each, ast.Starred)]
    return [*unpacked, *(each.value for each in call.keywords if each.arg is None)]


def _returned_through(places: Sequence[Place]) -> Iterator[ast.AST]:
    """The expression that read a value, and each call that returns it, from the inside out."""
    for position, place in enumerate(places):
        source, node = Source.of(place.code), place.node()
        if source is None or node is None:
            return
        yield _whole_test(node)
        if is_comprehension(place.code):  # the next one is that of the function around it
            continue
        if position + 1 < len(places) and not _is_returned(source, node):
            return


def _whole_test(node: ast.AST) -> ast.AST:
    return node.test if isinstance(node, (ast.Assert, ast.If, ast.While)) else node


def _is_returned(source: Source, node: ast.AST) -> bool:
    """Whether what an expression gives is part of what its function returns."""
    scope = source.scope(node)
    if isinstance(scope, ast.Lambda):
        return True
    carriers = {node}
    names: set[str] = set()
    for _ in range(3):  # a name that is given another name
        for inner in within(scope):
            match inner:
                case ast.Assign(targets=targets, value=value) if _carries(value, carriers, names):
                    names.update(*map(_targets, targets))
                case ast.AugAssign(target=target, value=value) | ast.AnnAssign(target=target, value=ast.expr() as value) if _carries(
                    value, carriers, names
                ):
                    names.update(_targets(target))
    returned = (inner.value for inner in within(scope) if isinstance(inner, (ast.Return, ast.Yield)) and inner.value is not None)
    return any(_carries(value, carriers, names) for value in returned)


def _carries(expression: ast.AST, nodes: set[ast.AST], names: set[str]) -> bool:
    return any(each in nodes or (isinstance(each, ast.Name) and each.id in names) for each in ast.walk(expression))
