"""One rank's process, from its fork to its end: runs the job's script as that rank and leaves its record in the rank's directory.

The process ends with status 0 once the record is written: how the script ended is in the record.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fakerun.call_site import CallSiteResolver
from fakerun.job.codec import decode_job
from fakerun.job.spec import JobSpec
from fakerun.rank import script_outcome
from fakerun.rank.exit_hooks import (
    abort_of,
    end_blocked,
    exit_after,
    exit_now,
    follow_launcher,
    keep_crash_report,
    os_exit_recorded,
)
from fakerun.rank.inputs import InputRecorder
from fakerun.rank.mailbox import ConnectedMailbox
from fakerun.rank.recorder import Recorder
from fakerun.rank.script import Program
from fakerun.records.inputs import INPUTS
from fakerun.records.journal import JOURNAL, Journal
from fakerun.records.run import UNRECORDED_STATUS
from fakerun.records.store import RecordStore

if TYPE_CHECKING:
    from fakerun.rank.simulation import Simulation

_STDERR = 2
_EXIT_HANDLERS_S = 5.0
"""How long exit handlers may take after a script was stopped midway: they may wait for what the script had yet to do."""


def run_rank(job_file: Path, rank: int, control: int, mailbox: ConnectedMailbox) -> NoReturn:
    """Run one rank, and end the process. `control` is the pipe on which the launcher makes requests; `mailbox` reaches other ranks."""
    recorder = Recorder(rank, RecordStore(job_file.parent))
    try:
        with _inputs_noted(recorder):
            _run_recorded(job_file, rank, control, mailbox, recorder)
    except OSError as error:  # on the way to the disk: a full one, or a limit on the size of files
        with suppress(OSError):
            os.write(_STDERR, f"fakerun: error: {error}\n".encode())
        exit_now(UNRECORDED_STATUS)
    _flush()
    exit_now(0)  # Python has nothing left to do, and torch's teardown can only take time or crash


@contextmanager
def _inputs_noted(recorder: Recorder) -> Iterator[None]:
    """Note what the program reads, if the launcher asks for it by making the file: it costs a call at each access to a frame."""
    path = recorder.directory / INPUTS
    if not path.exists():
        yield
        return
    inputs = InputRecorder(recorder.directory.parent)
    inputs.install()
    recorder.before_record = lambda: inputs.write(path)
    with inputs.requests_noted():
        yield


def _run_recorded(job_file: Path, rank: int, control: int, mailbox: ConnectedMailbox, recorder: Recorder) -> None:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the fork server blocks it
        job = decode_job(job_file.read_bytes(), source=str(job_file))
        resolver = CallSiteResolver(Path.cwd(), job.script)
        keep_crash_report(recorder.directory / "crash.txt")
        follow_launcher(control, recorder, mailbox, timeout_s=job.timeout_s, resolver=resolver)
        mailbox.block = partial(end_blocked, recorder, resolver)
        _simulate(job, rank, mailbox, recorder, resolver)
    except KeyboardInterrupt:
        recorder.write(script_outcome.early_interruption())
    except BaseException as error:  # of ours: the script's are handled within
        recorder.write(script_outcome.internal_failure(error))


def _simulate(job: JobSpec, rank: int, mailbox: ConnectedMailbox, recorder: Recorder, resolver: CallSiteResolver) -> None:
    from fakerun.rank.simulation import Simulation  # loaded before the fork; if that failed, what it raises is recorded now

    journal = Journal(recorder.directory / JOURNAL)
    with Simulation(job, rank, mailbox, abort_of(recorder, resolver), journal) as simulation, os_exit_recorded(recorder, resolver):
        recorder.observe(simulation)
        _run_to_end(Program.of(job, rank), simulation, recorder, resolver)


def _run_to_end(program: Program, simulation: "Simulation", recorder: Recorder, resolver: CallSiteResolver) -> None:
    """Run the program and end it as Python would, then write the record."""
    error = _run(program)
    if not recorder.in_own_process:
        _end_forked_child(error, resolver)
    if (whole := script_outcome.traceback_through_fakerun(error)) is not None:
        recorder.keep("full_traceback.txt", whole)
    ending = script_outcome.failure_of(error, resolver, simulation.placeholder_reads()) or script_outcome.exited(error, resolver)
    if script_outcome.was_stopped(error):
        recorder.write(ending)
        # Its threads are not joined: the code that would have ended them did not run.
        exit_after(_EXIT_HANDLERS_S)
    else:
        if error is not None:
            script_outcome.report(error)
        script_outcome.wait_for_threads()
    script_outcome.run_exit_handlers()
    recorder.write(ending)


def _run(program: Program) -> BaseException | None:
    try:
        program.run()
    except BaseException as error:  # how the script ends is what is recorded
        return error
    return None


def _end_forked_child(error: BaseException | None, resolver: CallSiteResolver) -> None:
    """A child that the script made with `os.fork` has come to the end of the script: end it as Python would, and record nothing."""
    failure = script_outcome.failure_of(error, resolver)
    if error is not None and failure is not None:
        script_outcome.report(error)
    script_outcome.wait_for_threads()
    script_outcome.run_exit_handlers()
    _flush()
    exit_now(0 if failure is None else failure.exit_code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the script closed it, or put something else there
            continue
