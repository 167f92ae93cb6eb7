"""The failure of a rank, from its exit status, the reason it was stopped and the record that it wrote."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.job.mesh import MeshSpec
from fakerun.job.spec import JobSpec
from fakerun.launch.failures import Diagnostics, RankEnd, finished_record, unstarted_record
from fakerun.records.run import UNRECORDED_STATUS, FailureKind, ProcessFailure, RankRecord
from tests.unit.records_by_hand import H100, site

JOB = JobSpec(
    script=Path("train.py"),
    hardware=H100,
    nproc_per_node=8,
    mesh=MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=True),
    timeout_s=90.0,
)
RAISED = ProcessFailure(
    kind=FailureKind.EXCEPTION,
    exception="KeyboardInterrupt",
    message="KeyboardInterrupt",
    traceback="Traceback ...",
    exit_code=130,
    call_site=site("train.py:7"),
)


@pytest.mark.parametrize("failure", [None, RAISED])
@pytest.mark.parametrize("stopped", [None, FailureKind.TIMEOUT])
def test_the_ranks_own_record_is_preferred(failure: ProcessFailure | None, stopped: FailureKind | None) -> None:
    """A rank that wrote its record just before the time was up has ended in time."""
    written = RankRecord(rank=5, steps=2, failure=failure)
    assert finished_record(JOB, 5, RankEnd(status=0, stopped=stopped), written) is written  # type: ignore[arg-type]


NO_RECORD = [
    (
        RankEnd(status=-signal.SIGKILL),
        FailureKind.SIGNAL,
        "killed by SIGKILL (probably by the out-of-memory killer: this machine ran out of memory, or the process hit a limit)",
        137,
    ),
    (RankEnd(status=-signal.SIGTERM), FailureKind.SIGNAL, "killed by SIGTERM (from outside fakerun, for example by a scheduler)", 143),
    (
        RankEnd(status=-signal.SIGSEGV),
        FailureKind.SIGNAL,
        "killed by SIGSEGV (a crash in native code)",
        139,
    ),
    (RankEnd(status=-signal.SIGUSR1), FailureKind.SIGNAL, "killed by SIGUSR1", 138),
    (RankEnd(status=-40), FailureKind.SIGNAL, "killed by signal 40", 168),
    (
        RankEnd(status=-signal.SIGKILL, stopped=FailureKind.TIMEOUT),
        FailureKind.TIMEOUT,
        "timed out after 90 s; the rank did not respond when asked for its stack",
        124,
    ),
    (RankEnd(status=-signal.SIGKILL, stopped=FailureKind.INTERRUPTED), FailureKind.INTERRUPTED, "interrupted", 130),
    (
        RankEnd(status=3),
        FailureKind.EXIT,
        "the process ended with status 3 without passing through Python's exit (it called exec, or exit in native code)",
        3,
    ),
    (
        RankEnd(status=0),
        FailureKind.INTERNAL,
        "the process ended with status 0 without passing through Python's exit (it called exec, or exit in native code)",
        0,
    ),
]


@pytest.mark.parametrize(("end", "kind", "message", "exit_code"), NO_RECORD)
def test_a_rank_without_a_record_gets_one(end: RankEnd, kind: FailureKind, message: str, exit_code: int) -> None:
    failure = ProcessFailure(kind=kind, exception=None, message=message, exit_code=exit_code)
    assert finished_record(JOB, 5, end, None) == RankRecord(rank=5, failure=failure)


def test_stderr_replaces_a_missing_traceback() -> None:
    record = finished_record(JOB, 5, RankEnd(status=1), None, Diagnostics(stderr="Fatal error\n"))
    assert record.failure is not None
    assert record.failure.traceback == "Fatal error\n"


@pytest.mark.parametrize(
    ("message", "stderr", "shown"),
    [
        ("exited with status 3", "no such file\n", "no such file\n"),
        ("exited with status 3", "", ""),
        ("no data", "no data\n", ""),
        ("no data", "looking for it\nno data\n", "looking for it\nno data\n"),
    ],
)
def test_what_a_script_wrote_before_it_ended_itself_tells_why(message: str, stderr: str, shown: str) -> None:
    """But not what the message says already."""
    exited = ProcessFailure(kind=FailureKind.EXIT, exception="SystemExit", message=message, exit_code=3)
    record = finished_record(JOB, 5, RankEnd(status=0), RankRecord(rank=5, failure=exited), Diagnostics(stderr=stderr))
    assert record.failure == replace(exited, traceback=shown)


def test_a_rank_that_died_keeps_what_its_journal_holds() -> None:
    until_then = RankRecord(rank=5, steps=3, torch_version="2.13")
    record = finished_record(JOB, 5, RankEnd(status=-signal.SIGKILL), None, Diagnostics(), until_then)
    assert record.failure is not None
    assert replace(record, failure=None) == until_then


def test_a_suspended_rank_is_called_so() -> None:
    failure = finished_record(JOB, 5, RankEnd(status=-signal.SIGKILL, stopped=FailureKind.SIGNAL), None).failure
    assert failure is not None
    assert failure.message == "suspended by SIGSTOP, and killed because nothing let it go on for 20 s (kill -CONT does)"
    assert failure.exit_code == 128 + signal.SIGSTOP


def test_a_rank_that_could_not_write_its_record_is_no_fault_of_fakeruns() -> None:
    failure = finished_record(JOB, 5, RankEnd(status=UNRECORDED_STATUS), None, Diagnostics(stderr="File too large\n")).failure
    assert failure is not None
    assert (failure.kind, failure.traceback) == (FailureKind.USAGE, "File too large\n")
    assert "RLIMIT_FSIZE" in failure.message


def test_an_interrupted_rank_keeps_its_coordinate_and_record() -> None:
    written = RankRecord(rank=5, steps=1, failure=RAISED)
    interrupted = replace(RAISED, kind=FailureKind.INTERRUPTED, message="interrupted at train.py:7")
    assert finished_record(JOB, 5, RankEnd(status=0, stopped=FailureKind.INTERRUPTED), written) == replace(written, failure=interrupted)


def test_a_script_that_swallows_the_interrupt_was_interrupted_all_the_same() -> None:
    failure = finished_record(JOB, 5, RankEnd(status=0, stopped=FailureKind.INTERRUPTED), RankRecord(rank=5)).failure
    assert failure == ProcessFailure(kind=FailureKind.INTERRUPTED, exception=None, message="interrupted", exit_code=130)


def test_a_rank_that_was_never_started_has_a_failure() -> None:
    record = unstarted_record(JOB, 7)
    assert record.rank == 7
    assert record.failure == ProcessFailure(
        kind=FailureKind.INTERRUPTED, exception=None, message="not started: fakerun was interrupted", exit_code=130
    )
