"""Ranks that a script names: numbers with which it compares a rank, as in `if rank == 3:`. Such ranks may act differently."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RANK = re.compile(r"\b(?:[a-z0-9_]*?_)??(?:([a-z0-9]+)_)?rank(?:\(.*\))?$", re.DOTALL)
"""`rank`, `self.dp_rank`, `dist.get_rank(group)`; the part before `rank` names the axis."""
_NOT_AN_AXIS = frozenset({"get", "global", "world", "my", "this", "self", "node", "group", "is"})


@dataclass(frozen=True, slots=True, order=True)
class NamedRank:
    """A number with which the script compares a rank. `axis` is taken from the variable's name: `tp`, `local`; "" if it has none."""

    axis: str
    number: int


def named_ranks(script: Path) -> tuple[NamedRank, ...]:
    """Those in the file itself, sorted; none in a file that cannot be parsed: running it reports the error."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    return tuple(sorted(set(_found(tree))))


def _found(tree: ast.AST) -> Iterator[NamedRank]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        axes = [axis for side in sides if (axis := _axis(side)) is not None]
        for number in (number for side in sides for number in _numbers(side)):
            yield from (NamedRank(axis, number) for axis in axes[:1])


def _axis(side: ast.expr) -> str | None:
    """The axis of a rank expression (a name, an attribute or a call that ends in `rank`); None for other expressions."""
    if not isinstance(side, ast.Name | ast.Attribute | ast.Call):
        return None
    found = _RANK.search(ast.unparse(side).lower())
    if found is None:
        return None
    axis = found[1] or ""
    return "" if axis in _NOT_AN_AXIS else axis


def _numbers(side: ast.expr) -> Iterator[int]:
    """The numbers in a literal: `3`, `(0, 4)`, `{1, 2}`."""
    elements = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
    for element in elements:
        if isinstance(element, ast.Constant) and type(element.value) is int and element.value >= 0:
            yield element.value
