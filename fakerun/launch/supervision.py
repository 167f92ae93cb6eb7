"""How long a rank may run, and what it is sent when its time limit is reached or the user presses Ctrl-C."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, isinf
from typing import Protocol

from fakerun.launch.process import StopReason
from fakerun.records.run import FailureKind

GRACE_S = 5.0
"""How long a script may take to clean up after a Ctrl-C, before its rank is asked to stop."""
RECORD_S = 20.0
"""How long a rank that was asked to stop may take to write its record, before it is killed."""


LOOK_S = 5.0
"""How often a rank is looked at that sends nothing: it may be suspended."""
SUSPENDED_S = 20.0
"""How long a rank may be suspended (SIGSTOP), before it is killed."""


class Stoppable(Protocol):
    """What supervision needs of a rank's process."""

    def ask(self, reason: StopReason) -> None: ...

    def interrupt(self) -> None: ...

    def is_suspended(self) -> bool: ...


@dataclass(slots=True, kw_only=True)
class Supervision:
    """The deadline of one running rank (None: it has no limit), and `stopped`: why it was stopped, if it was. Times are in seconds."""

    process: Stoppable
    deadline: float | None
    stopped: StopReason | None = None
    _was_asked: bool = False
    _left_s: float | None = None
    _look_at: float = 0.0
    _suspended_since: float | None = None

    def due(self) -> Iterator[float]:
        """When to call `is_over` next."""
        yield self._look_at
        if self.deadline is not None:
            yield self.deadline

    def is_over(self, now: float) -> bool:
        """Do what is due at `now`; True when the rank has to be killed."""
        if self._is_suspended_too_long(now):
            self.stopped = self.stopped or FailureKind.SIGNAL
            return True
        if self.deadline is None or now < self.deadline:
            return False
        if self._was_asked:
            return True
        self.stopped = self.stopped or FailureKind.TIMEOUT
        self.process.ask(self.stopped)
        self._was_asked = True
        self.deadline = now + RECORD_S
        return False

    def _is_suspended_too_long(self, now: float) -> bool:
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        if not self.process.is_suspended():
            self._suspended_since = None
        elif self._suspended_since is None:
            self._suspended_since = now
        return self._suspended_since is not None and now - self._suspended_since >= SUSPENDED_S

    def pause(self, now: float) -> None:
        """The rank waits for other ranks: its own time does not run."""
        if self.deadline is not None and self.stopped is None:
            self._left_s, self.deadline = self.deadline - now, None

    def resume(self, now: float) -> None:
        """The rank continues."""
        if self._left_s is not None and self.stopped is None:
            self.deadline = now + self._left_s
        self._left_s = None

    def interrupt(self, now: float) -> None:
        """Interrupt the rank as a terminal would, so that the script can clean up; after `GRACE_S` it is asked, then killed."""
        self.process.interrupt()
        self.stopped = FailureKind.INTERRUPTED
        self.deadline = now + GRACE_S


def until_next_deadline(supervised: Iterable[Supervision], others: Iterable[float], now: float) -> float | None:
    """Seconds until something is due for a rank, or another time at which something is due; None if nothing ever is."""
    due = min([*(time for each in supervised for time in each.due()), *others], default=inf)
    return None if isinf(due) else max(0.0, due - now)
