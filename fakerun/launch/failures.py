"""The record of a rank that has ended: the one that it wrote, with what only the launcher knows, or one made here if it wrote none.

Pure functions of a status, a reason and a record.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fakerun.job.spec import JobSpec
from fakerun.launch.crash import CrashSite
from fakerun.launch.process import StopReason
from fakerun.launch.supervision import SUSPENDED_S
from fakerun.records.run import UNRECORDED_STATUS, FailureKind, ProcessFailure, RankRecord

_SIGNAL_HINTS: Mapping[int, str] = {
    signal.SIGKILL: "probably by the out-of-memory killer: this machine ran out of memory, or the process hit a limit",
    signal.SIGTERM: "from outside fakerun, for example by a scheduler",
    signal.SIGSEGV: "a crash in native code",
    signal.SIGABRT: "native code aborted; see the rank's stderr.log",
    signal.SIGXFSZ: "a file grew beyond the limit on the size of files: RLIMIT_FSIZE, ulimit -f",
    signal.SIGXCPU: "the limit on processor time was reached: RLIMIT_CPU, ulimit -t",
}
_INTERRUPTED_STATUS = 128 + signal.SIGINT
_TIMED_OUT_STATUS = 124
"""What timeout(1) ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEnd:
    """How a rank's process ended: its status as `subprocess` gives it, and why fakerun stopped it, if it did."""

    status: int
    stopped: StopReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """What the launcher knows of a rank that its record does not tell: the end of its stderr, and where it crashed if it did."""

    stderr: str = ""
    crash: CrashSite = field(default_factory=CrashSite)


def finished_record(
    job: JobSpec,
    rank: int,
    end: RankEnd,
    written: RankRecord | None,
    diagnostics: Diagnostics = Diagnostics(),
    until_then: RankRecord | None = None,
) -> RankRecord:
    """The record of a rank that has ended: `written` if it wrote one, else what its journal holds `until_then`."""
    if written is None:
        return replace(until_then or RankRecord(rank=rank), failure=_failure_without_record(job, end, diagnostics))
    if end.stopped is FailureKind.INTERRUPTED:
        return replace(written, failure=_interrupted(written), blocked=None)
    failure = written.failure
    if failure is not None and is_exit_unexplained(failure) and diagnostics.stderr.strip() not in ("", failure.message.strip()):
        return replace(written, failure=replace(failure, traceback=diagnostics.stderr))
    return written


def is_exit_unexplained(failure: ProcessFailure) -> bool:
    """Of a script that ended itself with a status alone: what it wrote before is all that tells why."""
    return failure.kind is FailureKind.EXIT and not failure.traceback


def unstarted_record(job: JobSpec, rank: int) -> RankRecord:
    """The record of a rank that the user's Ctrl-C kept from starting."""
    return RankRecord(rank=rank, failure=_interruption("not started: fakerun was interrupted"))


def _interrupted(written: RankRecord) -> ProcessFailure:
    """The rank's own failure keeps its call site and traceback; only the launcher knows that the user interrupted it."""
    failure, blocked = written.failure, written.blocked
    if blocked is not None:
        where = f" at {blocked.call_site}" if blocked.call_site else ""
        return replace(_interruption(f"interrupted{where}"), traceback=blocked.stack, call_site=blocked.call_site)
    if failure is None or failure.call_site is None:
        return _interruption("interrupted")
    message = f"interrupted at {failure.call_site}"
    return replace(failure, kind=FailureKind.INTERRUPTED, message=message, exit_code=_INTERRUPTED_STATUS)


def _interruption(message: str) -> ProcessFailure:
    return ProcessFailure(kind=FailureKind.INTERRUPTED, exception=None, message=message, exit_code=_INTERRUPTED_STATUS)


def _failure_without_record(job: JobSpec, end: RankEnd, diagnostics: Diagnostics) -> ProcessFailure:
    if end.stopped is FailureKind.INTERRUPTED:
        return _interruption("interrupted")
    if end.stopped is FailureKind.TIMEOUT:
        message = f"timed out after {job.timeout_s:g} s; the rank did not respond when asked for its stack"
        return ProcessFailure(kind=FailureKind.TIMEOUT, exception=None, message=message, exit_code=_TIMED_OUT_STATUS)
    if end.stopped is FailureKind.SIGNAL:
        return _suspended()
    if end.status < 0:
        return _killed(-end.status, diagnostics.crash)
    return _ended_unseen(end.status, diagnostics.stderr)


def _suspended() -> ProcessFailure:
    message = f"suspended by SIGSTOP, and killed because nothing let it go on for {SUSPENDED_S:g} s (kill -CONT does)"
    return ProcessFailure(kind=FailureKind.SIGNAL, exception=None, message=message, exit_code=128 + signal.SIGSTOP)


def _killed(number: int, crash: CrashSite) -> ProcessFailure:
    hint = _SIGNAL_HINTS.get(number)
    where = f" at {crash.call_site}" if crash.call_site else ""
    return ProcessFailure(
        kind=FailureKind.SIGNAL,
        exception=None,
        message=f"killed by {_signal_name(number)}{where}" + (f" ({hint})" if hint else ""),
        traceback=crash.stack,
        exit_code=128 + number,
        call_site=crash.call_site,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _ended_unseen(status: int, stderr: str) -> ProcessFailure:
    """Python was left without its knowledge: native code called exit(), or exec() put another program in its place."""
    message = f"the process ended with status {status} without passing through Python's exit (it called exec, or exit in native code)"
    kind = FailureKind.EXIT if status else FailureKind.INTERNAL
    if status == UNRECORDED_STATUS:
        kind = FailureKind.USAGE
        message = "could not write its record: the disk is full, or the limit on the size of files (RLIMIT_FSIZE, ulimit -f) was reached"
    return ProcessFailure(kind=kind, exception=None, message=message, traceback=stderr, exit_code=status)
