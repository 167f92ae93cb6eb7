"""Resuming an interrupted run: which of its records are kept, and what must be unchanged for that."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import fakerun
from fakerun.errors import UsageError
from fakerun.job.spec import JobSpec
from fakerun.launch.run_directory import RunDirectory, reopen_run_directory
from fakerun.records.run import FailureKind, RankRecord

_MAY_DIFFER = frozenset({"ranks", "auto_ranks", "samples", "seed", "timeout_s", "budgets", "error_on_collective_source"})
"""Fields of a job that do not change what a rank does."""

_START_OVER = "pass a new directory without --resume to start over"

_FINAL = frozenset({FailureKind.EXCEPTION, FailureKind.EXIT, FailureKind.GAP, FailureKind.USAGE})
"""Failures that a rank would repeat. The others have their cause in this machine or in the user."""


def resume_run_directory(path: Path, job: JobSpec) -> RunDirectory:
    """The directory of an earlier run of the same job. Its finished ranks are not simulated again.

    Raises:
        UsageError: there is no run, one of another job, script or fakerun, or one that is in use.
    """
    directory = reopen_run_directory(path)
    with ExitStack() as on_failure:
        on_failure.enter_context(directory)
        _check_unchanged(directory, job, named=path)
        on_failure.pop_all()
    return directory


def _check_unchanged(directory: RunDirectory, job: JobSpec, *, named: Path) -> None:
    earlier = directory.read_job()
    for name, then, now in _differences(earlier, job):
        raise UsageError(f"run directory {named}: {name} was {then} in that run and is {now} now; {_START_OVER}")
    if job.auto_ranks and not earlier.auto_ranks:
        raise UsageError(f"run directory {named}: its ranks were listed, so what they test of their rank was not recorded; {_START_OVER}")
    version = directory.records.read_run().fakerun_version
    if version != fakerun.__version__:
        raise UsageError(f"run directory {named}: was made by fakerun {version}, but this is fakerun {fakerun.__version__}; {_START_OVER}")
    if job.script is not None and job.script.stat().st_mtime > directory.job_file.stat().st_mtime:
        raise UsageError(f"run directory {named}: {job.script} has changed since that run began; {_START_OVER}")


def finished_ranks(directory: RunDirectory) -> Iterator[RankRecord]:
    """The records of an earlier run in this directory that are valid for the job as it is now."""
    for rank in directory.records.ranks():
        record = directory.records.read(rank)
        if record is not None and record.blocked is None and (record.failure is None or record.failure.kind in _FINAL):
            yield record


def _differences(earlier: JobSpec, job: JobSpec) -> Iterator[tuple[str, object, object]]:
    for each in fields(JobSpec):
        then, now = getattr(earlier, each.name), getattr(job, each.name)
        if each.name not in _MAY_DIFFER and then != now:
            yield each.name, then, now
