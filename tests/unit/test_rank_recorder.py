"""A rank's record is written once, also when something interrupts the writing."""

import sys
from pathlib import Path

import pytest

from fakerun.call_site import CallSite
from fakerun.rank.recorder import Recorder
from fakerun.records.position import RankPosition
from fakerun.records.run import Ending, FailureKind, ProcessFailure, RankRecord
from fakerun.records.store import RecordStore
from tests.unit.records_by_hand import site

USUAL_S = 0.005
"""Python's switch interval, unless it is changed."""


def failure(message: str) -> ProcessFailure:
    return ProcessFailure(kind=FailureKind.EXIT, exception=None, message=message)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    store = RecordStore(tmp_path)
    store.begin()
    store.directory(3).mkdir()
    return store


def recorded(store: RecordStore) -> RankRecord:
    record = store.read(3)
    assert record is not None
    return record


class _Source:
    """A simulation that something happens to while it is asked for its record."""

    def __init__(self, *happens: object) -> None:
        self._happens = list(happens)

    def record(self, ending: Ending) -> RankRecord:
        event = self._happens.pop(0) if self._happens else None
        if isinstance(event, BaseException):
            raise event
        if callable(event):
            event()
        return RankRecord(rank=3, steps=2, failure=ending if isinstance(ending, ProcessFailure) else None)

    def position(self, call_site: CallSite | None) -> RankPosition:
        return RankPosition(steps=2, events=40, call_site=call_site)


def test_a_rank_without_a_simulation_yet_has_a_line_only(store: RecordStore) -> None:
    recorder = Recorder(3, store)
    assert recorder.position(site("train.py:1")) == RankPosition(steps=0, events=0, call_site=site("train.py:1"))
    recorder.observe(_Source())
    assert recorder.position(site("train.py:9")) == RankPosition(steps=2, events=40, call_site=site("train.py:9"))


def test_the_first_exit_is_the_one_recorded(store: RecordStore) -> None:
    recorder = Recorder(3, store)
    recorder.write(failure("first"))
    recorder.write(failure("second"))
    assert recorded(store) == RankRecord(rank=3, failure=failure("first"))


def test_a_signal_handler_that_ends_the_process_while_the_record_is_written_leaves_one(store: RecordStore) -> None:
    recorder = Recorder(3, store)
    seen: list[RankRecord] = []

    def handler() -> None:
        recorder.write(failure("os._exit in a handler"))
        seen.append(recorded(store))

    recorder.observe(_Source(handler))
    recorder.write(None)
    assert [record.failure for record in seen] == [failure("os._exit in a handler")]


def test_other_threads_do_not_run_while_the_record_is_put_together(store: RecordStore) -> None:
    """As long as it takes less than a second: what they change is being read."""
    sys.setswitchinterval(USUAL_S)
    meanwhile: list[float] = []
    recorder = Recorder(3, store)
    recorder.observe(_Source(lambda: meanwhile.append(sys.getswitchinterval())))
    recorder.write(None)
    assert meanwhile == [1.0]
    assert sys.getswitchinterval() == USUAL_S


def test_threads_run_again_after_a_record_that_failed(store: RecordStore) -> None:
    sys.setswitchinterval(USUAL_S)
    recorder = Recorder(3, store)
    recorder.observe(_Source(ValueError("lost")))
    recorder.write(None)
    assert sys.getswitchinterval() == USUAL_S


def test_an_interrupted_record_is_written_by_the_next_exit_hook(store: RecordStore) -> None:
    recorder = Recorder(3, store)
    recorder.observe(_Source(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        recorder.write(None)
    recorder.write(failure("interrupted"))
    assert recorded(store) == RankRecord(rank=3, steps=2, failure=failure("interrupted"))


def test_a_simulation_that_fails_to_record_leaves_a_partial_record(store: RecordStore) -> None:
    recorder = Recorder(3, store)
    recorder.observe(_Source(ValueError("lost")))
    recorder.write(None)
    failure = recorded(store).failure
    assert failure is not None
    assert (failure.kind, failure.message) == (FailureKind.INTERNAL, "lost")
