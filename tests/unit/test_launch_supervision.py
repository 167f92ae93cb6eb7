"""Waiting for a rank: what it is sent, in which order, before it is given up."""

import pytest

from fakerun.launch.process import StopReason
from fakerun.launch.supervision import GRACE_S, supervise
from fakerun.records.run import FailureKind


class Process:
    """A process whose waits go as told: it ends (True), it does not (False), or the user presses Ctrl-C."""

    def __init__(self, *waits: bool | type[KeyboardInterrupt]) -> None:
        self._waits = list(waits)
        self.log: list[object] = []

    def wait(self, timeout_s: float | None) -> bool:
        self.log.append(("wait", timeout_s))
        outcome = self._waits.pop(0)
        if outcome is KeyboardInterrupt:
            raise KeyboardInterrupt
        return bool(outcome)

    def ask(self, reason: StopReason) -> None:
        self.log.append(("ask", reason.value))

    def interrupt(self) -> None:
        self.log.append("interrupt")


GRACE = ("wait", GRACE_S)
CTRL_C = KeyboardInterrupt


@pytest.mark.parametrize(
    ("process", "reason", "log"),
    [
        (Process(True), None, []),
        (Process(False, True), FailureKind.TIMEOUT, [("ask", "timeout"), GRACE]),
        (Process(False, False), FailureKind.TIMEOUT, [("ask", "timeout"), GRACE]),
        (Process(CTRL_C, True), FailureKind.INTERRUPTED, ["interrupt", GRACE]),
        (Process(CTRL_C, False, True), FailureKind.INTERRUPTED, ["interrupt", GRACE, ("ask", "interrupted"), GRACE]),
        (Process(CTRL_C, CTRL_C), FailureKind.INTERRUPTED, ["interrupt", GRACE]),
        (Process(False, CTRL_C, True), FailureKind.INTERRUPTED, [("ask", "timeout"), GRACE, "interrupt", GRACE]),
    ],
    ids=["ends", "timeout, answers", "timeout, stuck", "interrupt", "interrupt, stuck", "interrupt twice", "interrupt in grace"],
)
def test_what_the_process_is_sent(process: Process, reason: FailureKind | None, log: list[object]) -> None:
    assert supervise(process, 60.0) is reason
    assert process.log == [("wait", 60.0), *log]
