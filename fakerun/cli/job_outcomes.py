"""The runs of several jobs: taken from the cache where nothing changed, else simulated side by side; with the progress of that."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fakerun.cli.progress import JobProgress, JobsProgress
from fakerun.cli.terminal import note, tell

if TYPE_CHECKING:
    from fakerun.job.spec import JobSpec
    from fakerun.launch import RunDirectory
    from fakerun.launch.result_cache import ResultCache
    from fakerun.records.run import RunRecord

_RANKS_OF_AUTO = 16
"""That `--ranks auto` simulates of a large job, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """The run of a job, and where it is; in the cache if it `is_kept`."""

    record: "RunRecord"
    directory: "RunDirectory"
    is_kept: bool


def cache_beside(job_file: Path) -> "ResultCache":
    """The cache of the jobs of a file."""
    from fakerun.job.check_file import STATE_DIRECTORY
    from fakerun.launch.result_cache import ResultCache

    return ResultCache(job_file.absolute().parent / STATE_DIRECTORY / "cache")


def outcomes_of(jobs: "Mapping[str, JobSpec]", cache: "ResultCache | None", *, jobs_at_a_time: int | None) -> Mapping[str, JobOutcome]:
    """The outcome of each job, by name."""
    known = {} if cache is None else {name: kept for name, job in jobs.items() if (kept := cache.find(name, job)) is not None}
    if known:
        tell(f"nothing changed for {len(known)} of {len(jobs)} job{'s' * (len(jobs) != 1)}: not simulated again (--no-cache does)")
    outcomes = {name: JobOutcome(record=kept.record, directory=kept.directory, is_kept=True) for name, kept in known.items()}
    to_run = {name: job for name, job in jobs.items() if name not in known}
    return outcomes | _simulated(to_run, cache, jobs_at_a_time=jobs_at_a_time) if to_run else outcomes


def _simulated(jobs: "Mapping[str, JobSpec]", cache: "ResultCache | None", *, jobs_at_a_time: int | None) -> dict[str, JobOutcome]:
    """Run the jobs on one server, those that take longest first: a long one that starts last is waited for alone."""
    from fakerun.launch import JobRun, RankServer, open_run_directory, run_jobs

    ordered = sorted(jobs, key=lambda name: _duration(name, jobs[name], cache), reverse=True)
    began = time.time()
    with ExitStack() as stack, JobsProgress(len(ordered)) as progress:
        directories = {name: stack.enter_context(open_run_directory(None)) for name in ordered}
        watchers = {name: progress.of(name) for name in ordered}
        with RankServer() as server:
            records = run_jobs(
                [JobRun(jobs[name], directories[name], watcher=watchers[name], notes_inputs=cache is not None) for name in ordered],
                server,
                jobs=jobs_at_a_time,
            )
    return {
        name: _kept(name, jobs[name], JobOutcome(record=record, directory=directories[name], is_kept=False), cache, began, watchers[name])
        for name, record in zip(ordered, records, strict=True)
    }


def _duration(name: str, job: "JobSpec", cache: "ResultCache | None") -> tuple[bool, float, int]:
    """How long a job may take: as it did, else, and before those that are known, by its ranks and its world."""
    seconds = None if cache is None else cache.seconds(name)
    return (True, len(job.ranks) or _RANKS_OF_AUTO, job.world_size) if seconds is None else (False, seconds, 0)


def _kept(name: str, job: "JobSpec", outcome: JobOutcome, cache: "ResultCache | None", began: float, watched: JobProgress) -> JobOutcome:
    """The outcome, with the run in the cache if it can be there."""
    from fakerun.launch.result_cache import NotKeptError

    if cache is None:
        return outcome
    try:
        directory = cache.keep(name, job, outcome.directory, outcome.record, began=began, seconds=watched.seconds)
    except NotKeptError as error:
        if not watched.failed:
            note(f"{name} will be simulated each time: {error}")
        return outcome
    except OSError as error:
        note(f"{name} is not kept for the next time: {error.filename}: {error.strerror}")
        return outcome
    return JobOutcome(record=outcome.record, directory=directory, is_kept=True)
