"""The runs of several jobs: taken from the cache where nothing changed, else simulated side by side; with the progress of that."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fakerun.cli.progress import JobProgress, JobsProgress
from fakerun.cli.terminal import note, tell

if TYPE_CHECKING:
    from fakerun.job.spec import JobSpec
    from fakerun.launch import RankServer, RunDirectory
    from fakerun.launch.result_cache import KeptRun, ResultCache
    from fakerun.records.run import RunRecord
    from fakerun.report.result import Result

_RANKS_OF_AUTO = 16
"""That `--ranks auto` simulates of a large job, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """The run of a job, and where it is; `kept` if that is in the cache."""

    record: "RunRecord"
    directory: "RunDirectory"
    kept: "KeptRun | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOutcome:
    """The result of a job whose run, in that directory, need not be read."""

    result: "Result"
    directory: "RunDirectory"


KnownResult: TypeAlias = "Callable[[str, KeptRun], Result | None]"
"""The result of a kept run of the job of that name, if it is known."""


def cache_beside(job_file: Path) -> "ResultCache":
    """The cache of the jobs of a file."""
    from fakerun.job.check_file import STATE_DIRECTORY
    from fakerun.launch.result_cache import ResultCache

    return ResultCache(job_file.absolute().parent / STATE_DIRECTORY / "cache")


def outcomes_of(
    jobs: "Mapping[str, JobSpec]",
    cache: "ResultCache | None",
    known_result: KnownResult,
    *,
    jobs_at_a_time: int | None,
    one_by_one: bool = False,
) -> Iterator[tuple[str, JobOutcome | KnownOutcome]]:
    """The outcome of each job, with its name: first those that are known. With `one_by_one` a job runs when its outcome is asked for."""
    known = {} if cache is None else _known(jobs, cache, known_result)
    if known:
        tell(f"nothing changed for {len(known)} of {len(jobs)} job{'s' * (len(jobs) != 1)}: not simulated again (--no-cache does)")
    yield from known.items()
    if to_run := {name: job for name, job in jobs.items() if name not in known}:
        simulated = _simulated(to_run, cache, jobs_at_a_time=jobs_at_a_time, one_by_one=one_by_one)
        yield from simulated if one_by_one else list(simulated)


def _known(jobs: "Mapping[str, JobSpec]", cache: "ResultCache", known_result: KnownResult) -> dict[str, JobOutcome | KnownOutcome]:
    """The outcomes that are in the cache, as they would be now."""
    known: dict[str, JobOutcome | KnownOutcome] = {}
    for name, job in jobs.items():
        if (kept := cache.find(name, job)) is None:
            continue
        if (result := known_result(name, kept)) is not None:
            known[name] = KnownOutcome(result=result, directory=kept.directory)
        elif (record := kept.read()) is not None:
            known[name] = JobOutcome(record=record, directory=kept.directory, kept=kept)
    return known


def _simulated(
    jobs: "Mapping[str, JobSpec]", cache: "ResultCache | None", *, jobs_at_a_time: int | None, one_by_one: bool
) -> Iterator[tuple[str, JobOutcome]]:
    """Run the jobs on one server, those that take longest first: a long one that starts last is waited for alone."""
    from fakerun.launch import RankServer

    ordered = list(jobs) if one_by_one else sorted(jobs, key=lambda name: _duration(name, jobs[name], cache), reverse=True)
    with JobsProgress(len(ordered)) as progress, RankServer() as server:
        for names in [[name] for name in ordered] if one_by_one else [ordered]:
            yield from _run({name: jobs[name] for name in names}, cache, progress, server, jobs_at_a_time=jobs_at_a_time).items()


def _run(
    jobs: "Mapping[str, JobSpec]", cache: "ResultCache | None", progress: JobsProgress, server: "RankServer", *, jobs_at_a_time: int | None
) -> dict[str, JobOutcome]:
    """Run the jobs side by side."""
    from fakerun.launch import JobRun, open_run_directory, run_jobs

    began = time.time()
    watchers = {name: progress.of(name) for name in jobs}
    with ExitStack() as stack:
        directories = {name: stack.enter_context(open_run_directory(None)) for name in jobs}
        runs = [JobRun(job, directories[name], watcher=watchers[name], notes_inputs=cache is not None) for name, job in jobs.items()]
        records = run_jobs(runs, server, jobs=jobs_at_a_time)
    return {
        name: _kept(name, jobs[name], JobOutcome(record=record, directory=directories[name], kept=None), cache, began, watchers[name])
        for name, record in zip(jobs, records, strict=True)
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
        kept = cache.keep(name, job, outcome.directory, outcome.record, began=began, seconds=watched.seconds)
    except NotKeptError as error:
        if not watched.failed:
            note(f"{name} will be simulated each time: {error}")
        return outcome
    except OSError as error:
        note(f"{name} is not kept for the next time: {error.filename}: {error.strerror}")
        return outcome
    return JobOutcome(record=outcome.record, directory=kept.directory, kept=kept)
