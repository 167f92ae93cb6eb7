"""How statements end: whether a branch can only end the program as failed."""

import ast
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from fakerun.syntax.names import Names
from fakerun.syntax.places import Scope, Source

_DEEPEST_CALL = 3

_EXITS: tuple[Any, ...] = (sys.exit, os._exit)
_ABORTS: tuple[Any, ...] = (os.abort,)


class Ending(Enum):
    """Where control goes after statements."""

    FAILS = auto()
    LEAVES = auto()
    """The block is left: return, break, continue, or the program ends well."""
    CONTINUES = auto()
    """The next statement follows."""


def endings(statements: Sequence[ast.stmt], names: Names, depth: int = 0) -> set[Ending]:
    """All ways in which a list of statements may end."""
    found: set[Ending] = set()
    for statement in statements:
        ends = _endings_of(statement, names, depth)
        found |= ends - {Ending.CONTINUES}
        if Ending.CONTINUES not in ends:
            return found
    return found | {Ending.CONTINUES}


def wanted_of_branch(branch: ast.If, source: Source, names: Names) -> bool | None:
    """The truth of the condition with which the program goes on; None if both or none of its branches can only fail."""
    taken, skipped = (_fails((*block, *_following(branch, source)), names) for block in (branch.body, branch.orelse))
    return None if taken is skipped else skipped


def is_failing_call(call: ast.Call, names: Names, depth: int = 0) -> bool:
    """Whether a call can only end the program as failed: `sys.exit(1)`, `os.abort()`, a function that always raises."""
    target = names.value(call.func)
    if any(target is each for each in _ABORTS):
        return True
    if any(target is each for each in _EXITS) or type(target).__name__ == "Quitter":
        return bool(call.args) and not (isinstance(call.args[0], ast.Constant) and not call.args[0].value)
    function = names.function(call.func)
    return function is not None and depth < _DEEPEST_CALL and _always_fails(function[0], depth + 1)


def _endings_of(statement: ast.stmt, names: Names, depth: int) -> set[Ending]:
    match statement:
        case ast.Raise():
            return {Ending.LEAVES if _is_control_flow(statement) else Ending.FAILS}
        case ast.Assert(test=ast.Constant(value=value)) if not value:
            return {Ending.FAILS}
        case ast.Return() | ast.Break() | ast.Continue():
            return {Ending.LEAVES}
        case ast.Expr(value=ast.Call() as call) if is_failing_call(call, names, depth):
            return {Ending.FAILS}
        case ast.If():
            return endings(statement.body, names, depth) | endings(statement.orelse, names, depth)
        case ast.With() | ast.AsyncWith():
            return endings(statement.body, names, depth)
        case ast.For() | ast.AsyncFor() | ast.While():
            return endings(statement.body, names, depth) | {Ending.CONTINUES}
        case ast.Try() | ast.TryStar():
            return _of_try(statement, names, depth)
    return {Ending.CONTINUES}


def _of_try(statement: ast.Try | ast.TryStar, names: Names, depth: int) -> set[Ending]:
    found = endings((*statement.body, *statement.orelse), names, depth)
    if statement.handlers:  # they may catch what is raised
        found = (found - {Ending.FAILS}) | set().union(*(endings(handler.body, names, depth) for handler in statement.handlers))
    final = endings(statement.finalbody, names, depth)
    return final if Ending.CONTINUES not in final else found | (final - {Ending.CONTINUES})


def _is_control_flow(statement: ast.Raise) -> bool:
    raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
    return isinstance(raised, ast.Name) and raised.id in ("StopIteration", "StopAsyncIteration", "GeneratorExit")


def _fails(statements: Sequence[ast.stmt], names: Names) -> bool:
    return endings(statements, names) == {Ending.FAILS}


def _following(statement: ast.stmt, source: Source) -> Iterator[ast.stmt]:
    """The statements that run after a statement, up to the end of its function; after a loop's last one, those after the loop."""
    for node, parent in source.parents(statement):
        if isinstance(node, ast.stmt):
            yield from _later_siblings(node, parent)
        if isinstance(parent, (ast.For, ast.AsyncFor)) and node in parent.body:
            yield from parent.orelse
        if isinstance(parent, (*Scope.__args__, ast.ClassDef, ast.While)):
            return


def _later_siblings(node: ast.stmt, parent: ast.AST) -> Sequence[ast.stmt]:
    return next((block[block.index(node) + 1 :] for block in blocks(parent) if node in block), ())


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements directly in a node."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _always_fails(function: FunctionType, depth: int) -> bool:
    return _code_always_fails(function.__code__, lambda: Names.in_function(function), depth)


@cache
def _known_endings() -> dict[CodeType, bool]:
    return {}


def _code_always_fails(code: CodeType, names: Callable[[], Names], depth: int) -> bool:
    known = _known_endings()
    if code not in known:
        source = Source.of(code)
        scope = source and source.definition(code)
        body = scope.body if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
        known[code] = False  # while it is looked at: a function that calls itself
        known[code] = endings(body, names(), depth) == {Ending.FAILS}
    return known[code]
