"""What followed numbers and texts report to: the tracker of the simulation that runs in this process, if it follows the rank."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from fakerun.emulate.rank_tracking.expressions import MAX_SIZE, Expression, ExpressionTable
from fakerun.records.observer import RankUseObserver
from fakerun.records.rank_function import Number, RankOperation


class FileNames:
    """The parts of paths that texts made of the rank may be: what a path is made of in the end is plain text."""

    MOST = 1 << 14

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, text: str, parts: "list[str | bool] | None") -> None:
        """A text made of the rank; `parts` are what is between its numbers and True for each of these, None if that is not known."""
        if len(self._names) < self.MOST and len(text) < 4096:  # the longest path
            names = text.split("/")
            pattern = names if parts is None else "".join("0" if part is True else _without_digits(part) for part in parts).split("/")
            self._names.update(name for name, mark in zip(names, pattern, strict=False) if any(map(str.isdigit, mark)))

    def are_in(self, path: Any) -> bool:
        """Whether a path has such a part."""
        if not self._names or not isinstance(path, (str, os.PathLike)):
            return False
        text = os.fspath(path)
        return isinstance(text, str) and not self._names.isdisjoint(str(text).split("/"))


def _without_digits(part: "str | bool") -> str:
    return "".join("x" if character.isdigit() else character for character in str(part))


class RankTracker:
    """Makes expressions, and reports the tests and the other uses of them. `values` has the rank's own numbers."""

    def __init__(self, observer: RankUseObserver, values: Mapping[RankOperation, int]) -> None:
        self.values = values
        self.expressions = ExpressionTable()
        self.file_names = FileNames()
        self.tested = observer.tested
        self.unfollowed = observer.unfollowed

    def test(self, operation: RankOperation, left: Expression, right: Expression, outcome: Number, frame: FrameType) -> None:
        """Report a comparison; not one of an expression with itself, which has one outcome on all ranks."""
        if left is not right:
            self.tested(self.expressions.binary(operation, left, right), outcome, frame)

    def followable(self, expression: Expression, frame: FrameType) -> bool:
        """Whether a value may go on as this expression; reported if it is too long."""
        if expression.size <= MAX_SIZE:
            return True
        self.unfollowed("argument", frame)
        return False


@dataclass(slots=True)
class _Active:
    tracker: RankTracker | None = None


active = _Active()
"""Numbers outlive the simulation that made them; then nobody listens."""


def note(kind: str, depth: int = 1) -> None:
    """Report a use that is not followed, made by the caller of the function that calls this, or `depth` frames further out."""
    if active.tracker is not None:
        active.tracker.unfollowed(kind, sys._getframe(depth + 1))
