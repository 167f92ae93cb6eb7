"""Waiting for running ranks: the end of each, the job's time limit or the user's Ctrl-C, whichever comes first."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fakerun.launch.process import StopReason
from fakerun.records.run import FailureKind

GRACE_S = 5.0
"""How long a script may take over its own end after a Ctrl-C, before its rank is asked to stop."""
RECORD_S = 20.0
"""How long a rank that was asked to stop may take over its record before it is killed."""


class Stoppable(Protocol):
    """What supervision needs of a rank's process."""

    def ask(self, reason: StopReason) -> None: ...

    def interrupt(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Watch:
    """One running rank's time: until `deadline` it may go on (forever without one); `stopped` says why it was told to end, if it was."""

    process: Stoppable
    deadline: float | None
    stopped: StopReason | None = None
    _asked: bool = False
    _left_s: float | None = None

    def overdue(self, now: float) -> bool:
        """Do what is due at `now`; True when there is nothing left to do but to kill it."""
        if self.deadline is None or now < self.deadline:
            return False
        if self._asked:
            return True
        self.stopped = self.stopped or FailureKind.TIMEOUT
        self.process.ask(self.stopped)
        self._asked = True
        self.deadline = now + RECORD_S
        return False

    def pause(self, now: float) -> None:
        """The rank waits for others: that is not its own time."""
        if self.deadline is not None and self.stopped is None:
            self._left_s, self.deadline = self.deadline - now, None

    def resume(self, now: float) -> None:
        """The rank goes on."""
        if self._left_s is not None and self.stopped is None:
            self.deadline = now + self._left_s
        self._left_s = None

    def interrupt(self, now: float) -> None:
        """First as a terminal would, so that the script can clean up; what is overdue after that is asked, then killed."""
        self.process.interrupt()
        self.stopped = FailureKind.INTERRUPTED
        self.deadline = now + GRACE_S


def patience_s(watches: Iterable[Watch], now: float) -> float | None:
    """How long until something is due; None for ever."""
    deadlines = [watch.deadline for watch in watches if watch.deadline is not None]
    return max(0.0, min(deadlines) - now) if deadlines else None
