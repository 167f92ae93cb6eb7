"""A rank's record is written once, and is written although something comes between."""

from pathlib import Path

import pytest

from fakerun.rank.recorder import Recorder
from fakerun.records.codec import decode_rank
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord


def failure(message: str) -> ProcessFailure:
    return ProcessFailure(kind=FailureKind.EXIT, exception=None, message=message)


def recorded(directory: Path) -> RankRecord:
    return decode_rank((directory / "record.json.gz").read_bytes())


class _Source:
    """A simulation that something happens to while it is asked for its record."""

    def __init__(self, *happens: object) -> None:
        self._happens = list(happens)

    def record(self, failure: ProcessFailure | None) -> RankRecord:
        event = self._happens.pop(0) if self._happens else None
        if isinstance(event, BaseException):
            raise event
        if callable(event):
            event()
        return RankRecord(rank=3, steps=2, failure=failure)


def test_the_first_way_out_is_the_one_recorded(tmp_path: Path) -> None:
    recorder = Recorder(3, tmp_path)
    recorder.write(failure("first"))
    recorder.write(failure("second"))
    assert recorded(tmp_path) == RankRecord(rank=3, failure=failure("first"))


def test_a_signal_handler_that_ends_the_process_while_the_record_is_written_leaves_one(tmp_path: Path) -> None:
    recorder = Recorder(3, tmp_path)
    seen: list[RankRecord] = []

    def handler() -> None:
        recorder.write(failure("os._exit in a handler"))
        seen.append(recorded(tmp_path))

    recorder.observe(_Source(handler))
    recorder.write(None)
    assert [record.failure for record in seen] == [failure("os._exit in a handler")]


def test_an_interrupted_record_is_written_by_the_next_way_out(tmp_path: Path) -> None:
    recorder = Recorder(3, tmp_path)
    recorder.observe(_Source(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        recorder.write(None)
    recorder.write(failure("interrupted"))
    assert recorded(tmp_path) == RankRecord(rank=3, steps=2, failure=failure("interrupted"))


def test_a_simulation_that_cannot_tell_leaves_a_poorer_record(tmp_path: Path) -> None:
    recorder = Recorder(3, tmp_path)
    recorder.observe(_Source(ValueError("lost")))
    recorder.write(None)
    told = recorded(tmp_path).failure
    assert told is not None
    assert (told.kind, told.message) == (FailureKind.INTERNAL, "lost")
