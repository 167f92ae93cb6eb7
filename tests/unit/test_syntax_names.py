"""Names of the program: found where they are, without keeping what the program deletes, or changing what it holds."""

import ast
import sys
import weakref
from typing import Any

from fakerun.syntax.names import Names


class _Large:
    """Stands for a tensor."""


def _value(expression: str) -> Any:
    """What an expression of the caller's stands for."""
    return Names.of(sys._getframe(1)).value(ast.parse(expression, mode="eval").body)


def test_names_and_attributes() -> None:
    large = _Large()
    vars(large)["size"] = 7
    assert _value("large.size") == 7
    assert _value("ast.parse") is ast.parse
    assert _value("len") is len
    assert _value("absent") is None
    assert _value("large.absent") is None
    assert _value("len(large)") is None


def test_what_the_program_deletes_goes() -> None:
    limit, large = 3, _Large()
    reference = weakref.ref(large)
    assert _value("limit") == limit
    del large
    assert reference() is None


def test_what_the_program_holds_stays() -> None:
    limit = 3
    held = locals()
    assert _value("limit") == 3
    assert held["limit"] == limit
