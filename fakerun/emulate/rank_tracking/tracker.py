"""What followed numbers and texts report to: the tracker of the simulation that runs in this process, if it follows the rank."""

import sys
from dataclasses import dataclass
from types import FrameType

from fakerun.emulate.rank_tracking.expressions import MAX_SIZE, Expression, ExpressionTable
from fakerun.records.observer import RankUseObserver
from fakerun.records.rank_function import Number, RankOperation


class RankTracker:
    """Makes expressions, and reports the tests and the other uses of them."""

    def __init__(self, observer: RankUseObserver) -> None:
        self.expressions = ExpressionTable()
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
