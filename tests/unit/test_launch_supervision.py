"""Waiting for ranks: what each is sent, and when, before it is given up."""

import os

import pytest

from fakerun.launch.process import StopReason
from fakerun.launch.supervision import GRACE_S, RECORD_S, Watch, ended
from fakerun.records.run import FailureKind

LIMIT_S = 60.0


class Process:
    """A process that only writes down what it is sent; it has ended once its pipe is closed."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._reading, self._writing = os.pipe()

    def fileno(self) -> int:
        return self._reading

    def ask(self, reason: StopReason) -> None:
        self.log.append(f"ask {reason.value}")

    def interrupt(self) -> None:
        self.log.append("interrupt")

    def end(self) -> None:
        os.close(self._writing)


CTRL_C = "ctrl-c"
AFTER_TIMEOUT = LIMIT_S + RECORD_S


@pytest.mark.parametrize(
    ("events", "reason", "log", "given_up"),
    [
        ([59.9], None, [], False),
        ([60.0], FailureKind.TIMEOUT, ["ask timeout"], False),
        ([60.0, AFTER_TIMEOUT - 0.1], FailureKind.TIMEOUT, ["ask timeout"], False),
        ([60.0, AFTER_TIMEOUT], FailureKind.TIMEOUT, ["ask timeout"], True),
        ([CTRL_C, GRACE_S - 0.1], FailureKind.INTERRUPTED, ["interrupt"], False),
        ([CTRL_C, GRACE_S], FailureKind.INTERRUPTED, ["interrupt", "ask interrupted"], False),
        ([CTRL_C, GRACE_S, GRACE_S + RECORD_S], FailureKind.INTERRUPTED, ["interrupt", "ask interrupted"], True),
    ],
)
def test_what_a_rank_is_sent(events: list[float | str], reason: FailureKind | None, log: list[str], given_up: bool) -> None:
    process = Process()
    watch = Watch(process=process, deadline=LIMIT_S)
    overdue = False
    for event in events:
        if isinstance(event, str):
            watch.interrupt(0.0)
        else:
            overdue = watch.overdue(event)
    assert (watch.stopped, process.log, overdue) == (reason, log, given_up)


def test_without_a_limit_a_rank_may_take_for_ever() -> None:
    assert not Watch(process=Process(), deadline=None).overdue(1e9)


def test_a_rank_that_ends_wakes_who_waits() -> None:
    watches = [Watch(process=Process(), deadline=None) for _ in range(3)]
    assert isinstance(watches[1].process, Process)
    watches[1].process.end()
    assert ended(watches, 0.0) == [watches[1]]


def test_what_is_due_wakes_who_waits() -> None:
    assert ended([Watch(process=Process(), deadline=5.0)], 5.0) == []
