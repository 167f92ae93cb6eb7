"""Waiting for one rank: its end, the job's time limit or the user's Ctrl-C, whichever comes first."""

from contextlib import suppress
from typing import Protocol

from fakerun.launch.process import StopReason
from fakerun.records.run import FailureKind

GRACE_S = 5.0
"""How long a rank that was asked to stop may take over its record before it is killed."""


class Stoppable(Protocol):
    """What supervision needs of a rank's process."""

    def wait(self, timeout_s: float | None) -> bool: ...

    def ask(self, reason: StopReason) -> None: ...

    def interrupt(self) -> None: ...


def supervise(process: Stoppable, timeout_s: float | None) -> StopReason | None:
    """Why the process was stopped; None when it ended of itself. On return it may still live: the caller closes it."""
    try:
        if process.wait(timeout_s):
            return None
        process.ask(FailureKind.TIMEOUT)
        process.wait(GRACE_S)
    except KeyboardInterrupt:
        _interrupt(process)
        return FailureKind.INTERRUPTED
    return FailureKind.TIMEOUT


def _interrupt(process: Stoppable) -> None:
    """First as a terminal would, so that the script can clean up; then by force. A second Ctrl-C is for the impatient: no grace."""
    with suppress(KeyboardInterrupt, ProcessLookupError):
        process.interrupt()
        if not process.wait(GRACE_S):
            process.ask(FailureKind.INTERRUPTED)
            process.wait(GRACE_S)
