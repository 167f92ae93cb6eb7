"""Resuming an interrupted run: which of its records are kept, and what must be unchanged for that."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import fakerun
from fakerun.errors import UsageError
from fakerun.job.spec import JobSpec
from fakerun.launch.run_directory import RunDirectory, find_run_directory
from fakerun.records.run import FailureKind, RankRecord

_MAY_DIFFER = frozenset({"ranks", "auto_ranks", "timeout_s"})
"""Fields of a job that do not change what a rank does."""

_FINAL = frozenset({FailureKind.EXCEPTION, FailureKind.EXIT, FailureKind.GAP, FailureKind.USAGE})
"""Failures that a rank would repeat. The others have their cause in this machine or in the user."""


def resume_run_directory(path: Path, job: JobSpec) -> RunDirectory:
    """The directory of an earlier run of the same job. Its finished ranks are not simulated again.

    Raises:
        UsageError: there is no run, or one of another job, script or fakerun.
    """
    directory = find_run_directory(path)
    earlier = directory.read_job()
    for name, then, now in _differences(earlier, job):
        raise UsageError(f"run directory {path}: {name} was {then} in that run and is {now} now; drop --resume to start over")
    version = directory.records.read_run().fakerun_version
    if version != fakerun.__version__:
        raise UsageError(
            f"run directory {path}: was made by fakerun {version}, but this is fakerun {fakerun.__version__}; drop --resume to start over"
        )
    if job.script is not None and job.script.stat().st_mtime > directory.job_file.stat().st_mtime:
        raise UsageError(f"run directory {path}: {job.script} has changed since that run began; drop --resume to start over")
    return directory


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
