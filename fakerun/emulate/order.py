"""The order in which the contexts of an emulation are entered, as far as it matters, and why."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from fakerun.emulate.context import EmulationContext

Register: TypeAlias = Callable[[EmulationContext], None]
"""Registers handlers on the modes of a context. Handlers are registered before any context is entered, in any order."""

Enter: TypeAlias = Callable[[EmulationContext], AbstractContextManager[Any]]
"""Makes the context manager of one emulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precedence:
    """One context must be entered before another (and is left after it)."""

    first: Enter
    then: Enter
    reason: str


def check_order(contexts: Sequence[Enter], precedences: Sequence[Precedence]) -> None:
    """Check that contexts are entered in an order that is known to work.

    Raises:
        ValueError: A context is listed twice, or a precedence names one that is not listed, or two are listed in the wrong order.
    """
    position = {enter: number for number, enter in enumerate(contexts)}
    if len(position) < len(contexts):
        raise ValueError("a context is listed twice")
    for precedence in precedences:
        first, then = precedence.first, precedence.then
        if first not in position or then not in position:
            raise ValueError(f"the precedence of {_name(first)} over {_name(then)} names a context that is not listed")
        if position[first] > position[then]:
            raise ValueError(f"{_name(first)} must be entered before {_name(then)}: {precedence.reason}")


def _name(enter: Enter) -> str:
    return str(getattr(enter, "__name__", enter))
