"""Running jobs: one, or several over one server; the record of each run."""

import os
from collections.abc import Sequence

from fakerun.job.spec import JobSpec
from fakerun.launch.host_memory import available_bytes
from fakerun.launch.job_run import NO_WATCHER, JobRun, RunWatcher
from fakerun.launch.pool import RANK_BYTES, RankPool
from fakerun.launch.run_directory import RunDirectory
from fakerun.launch.server import RankServer
from fakerun.records.run import RunRecord


def run_job(
    job: JobSpec, directory: RunDirectory, *, show_output: bool, jobs: int | None = None, watcher: RunWatcher = NO_WATCHER
) -> RunRecord:
    """Simulate the job's ranks and return a record of each, however it ended.

    Job, records and output are kept in `directory`, which `open_run_directory` makes. With one from `resume_run_directory`, ranks that are
    finished there are not simulated again, unless others wait for what they send. `show_output` copies what the ranks print to stderr as
    they print it. `jobs` ranks run at a time, by default as many as this machine has cores and memory for. The `watcher` is notified of
    each rank.
    """
    with RankServer() as server:
        (run,) = run_jobs([JobRun(job, directory, watcher=watcher)], server, show_output=show_output, jobs=jobs)
    return run


def run_jobs(runs: Sequence[JobRun], server: RankServer, *, show_output: bool = False, jobs: int | None = None) -> tuple[RunRecord, ...]:
    """Simulate the ranks of several jobs on one server, and return the record of each run, in order. Otherwise as `run_job`."""
    for run in runs:
        run.begin()
    RankPool(server, working=jobs or _working_ranks(), show_output=show_output).run(runs)
    return tuple(run.finish() for run in runs)


def _working_ranks() -> int:
    """How many ranks work at a time by default: as many as this process has cores, and memory for."""
    return min(len(os.sched_getaffinity(0)), max(1, available_bytes() // RANK_BYTES))
