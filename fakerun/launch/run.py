"""Running a job: one process per rank, one after the other, and the records of all of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import fakerun
from fakerun.job.spec import JobSpec
from fakerun.launch.crash import crash_site
from fakerun.launch.environment import worker_environment
from fakerun.launch.failures import LastWords, RankEnd, finished_record, unstarted_record
from fakerun.launch.live_output import LiveOutput
from fakerun.launch.process import RankProcess
from fakerun.launch.run_directory import RankFiles, RunDirectory
from fakerun.launch.supervision import supervise
from fakerun.records.run import FailureKind, RankRecord, RunRecord

_TAIL_BYTES = 4096


def run_job(job: JobSpec, directory: RunDirectory, *, show_output: bool) -> RunRecord:
    """Simulate the job's ranks and collect a record of each, however it ended.

    Job, records and output are kept in `directory` (of `open_run_directory`). `show_output` copies what the ranks print to stderr as
    they print it. One rank's failure does not stop the others: which ranks fail is part of the answer. The user's Ctrl-C does.
    """
    directory.write_job(job)
    ranks = tuple(_records(job, directory, show_output=show_output))
    torch_version = next((record.torch_version for record in ranks if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=ranks)


def _records(job: JobSpec, directory: RunDirectory, *, show_output: bool) -> Iterator[RankRecord]:
    interrupted = False
    for rank in job.ranks:
        files = directory.rank(rank)
        files.make()
        if interrupted:
            record = unstarted_record(job, rank)
            files.write_record(record)
        else:
            record = _run_rank(job, rank, directory, show_output=show_output)
        yield record
        interrupted = record.failure is not None and record.failure.kind is FailureKind.INTERRUPTED


def _run_rank(job: JobSpec, rank: int, directory: RunDirectory, *, show_output: bool) -> RankRecord:
    files = directory.rank(rank)
    environment = worker_environment(job, rank, inherited=os.environ, error_file=files.error)
    live_output = _live_output(files, rank) if show_output else nullcontext()
    with live_output, RankProcess.start(directory.job_file, rank, files, environment) as process:
        stopped = supervise(process, job.timeout_s)
        end = RankEnd(status=process.close(), stopped=stopped)
    written = files.read_record()
    record = finished_record(job, rank, end, written, LastWords() if written is not None else _last_words(job, files))
    if record is not written:
        files.write_record(record)
    return record


def _live_output(files: RankFiles, rank: int) -> AbstractContextManager[LiveOutput]:
    return LiveOutput((files.stdout, files.stderr), sys.stderr, prefix=f"[rank{rank}]: ")


def _last_words(job: JobSpec, files: RankFiles) -> LastWords:
    report = files.crash.read_text(errors="replace") if files.crash.exists() else ""
    return LastWords(stderr=_tail(files.stderr), crash=crash_site(report, job, Path.cwd()))


def _tail(log: Path) -> str:
    """The end of a log file, from the beginning of a line."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if size > _TAIL_BYTES:
        tail = tail.partition(b"\n")[2]
    return tail.decode(errors="replace")
