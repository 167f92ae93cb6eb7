"""Waiting for ranks: the signals that each is sent, and when."""

from math import inf

import pytest

from fakerun.launch.process import StopReason
from fakerun.launch.supervision import GRACE_S, LOOK_S, RECORD_S, SUSPENDED_S, Supervision, until_next_deadline
from fakerun.records.run import FailureKind

LIMIT_S = 60.0


class Process:
    """A process that only writes down what it is sent."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.suspended = False

    def ask(self, reason: StopReason) -> None:
        self.log.append(f"ask {reason.value}")

    def interrupt(self) -> None:
        self.log.append("interrupt")

    def is_suspended(self) -> bool:
        return self.suspended


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
    supervision = Supervision(process=process, deadline=LIMIT_S)
    overdue = False
    for event in events:
        if isinstance(event, str):
            supervision.interrupt(0.0)
        else:
            overdue = supervision.is_over(event)
    assert (supervision.stopped, process.log, overdue) == (reason, log, given_up)


def test_waiting_for_other_ranks_does_not_count_against_the_time_limit() -> None:
    supervision = Supervision(process=Process(), deadline=LIMIT_S)
    supervision.pause(50.0)
    assert not supervision.is_over(1e9)
    supervision.resume(100.0)
    assert not supervision.is_over(109.9)
    assert not supervision.is_over(110.0)
    assert supervision.stopped is FailureKind.TIMEOUT


def test_a_rank_that_waits_can_be_interrupted() -> None:
    supervision = Supervision(process=Process(), deadline=LIMIT_S)
    supervision.pause(50.0)
    supervision.interrupt(51.0)
    supervision.resume(52.0)
    assert supervision.deadline == 51.0 + GRACE_S


def test_a_suspended_rank_is_given_up() -> None:
    """It can neither end nor be asked to."""
    process = Process()
    supervision = Supervision(process=process, deadline=None)
    process.suspended = True
    assert [supervision.is_over(now) for now in (10.0, 15.0, 10.0 + SUSPENDED_S - 0.1, 10.0 + SUSPENDED_S + LOOK_S)] == [
        *(False, False, False),
        True,
    ]
    assert supervision.stopped is FailureKind.SIGNAL


def test_a_rank_that_goes_on_is_not_given_up() -> None:
    process = Process()
    supervision = Supervision(process=process, deadline=None)
    process.suspended = True
    assert not supervision.is_over(10.0)
    process.suspended = False
    assert not supervision.is_over(20.0)
    process.suspended = True
    assert not supervision.is_over(10.0 + SUSPENDED_S)


def test_without_a_limit_a_rank_may_run_for_ever() -> None:
    assert not Supervision(process=Process(), deadline=None).is_over(1e9)


@pytest.mark.parametrize(
    ("deadlines", "seconds"),
    [([], None), ([None], LOOK_S), ([None, 7.0, 5.0], 3.0), ([1.0], 0.0)],
    ids=["nobody", "no limit", "the first", "overdue"],
)
def test_how_long_nothing_is_due(deadlines: list[float | None], seconds: float | None) -> None:
    supervised = [Supervision(process=Process(), deadline=deadline) for deadline in deadlines]
    for each in supervised:
        each.is_over(0.0)
    assert until_next_deadline(supervised, [], now=0.0 if seconds == LOOK_S else 2.0) == seconds


def test_something_else_may_be_due_earlier() -> None:
    supervised = [Supervision(process=Process(), deadline=9.0), Supervision(process=Process(), deadline=None)]
    for each in supervised:
        each.is_over(2.0)
    assert until_next_deadline(supervised, [inf, 6.0], now=2.0) == 4.0
    assert until_next_deadline([], [inf], now=2.0) is None
