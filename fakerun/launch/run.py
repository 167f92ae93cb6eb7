"""Running a job: its ranks, and the records of all of them."""

import os
from collections.abc import Callable

import fakerun
from fakerun.job.spec import JobSpec
from fakerun.launch.pool import RankPool
from fakerun.launch.run_directory import RunDirectory
from fakerun.records.run import RankRecord, RunRecord
from fakerun.units import GIB

_RANK_BYTES = GIB
"""What a rank of a large model takes of the host, generously: 0.4 GB were seen for 70B parameters."""


def run_job(
    job: JobSpec,
    directory: RunDirectory,
    *,
    show_output: bool,
    jobs: int | None = None,
    on_record: Callable[[RankRecord], None] = lambda record: None,
) -> RunRecord:
    """Simulate the job's ranks and collect a record of each, however it ended.

    Job, records and output are kept in `directory` (of `open_run_directory`). `show_output` copies what the ranks print to stderr as
    they print it. `jobs` ranks run at a time, by default as many as this machine has cores and memory for. `on_record` is told of each
    rank as it ends.
    """
    directory.write_job(job)
    records: list[RankRecord] = []

    def keep(record: RankRecord) -> None:
        records.append(record)
        on_record(record)

    RankPool(job, directory, limit=jobs or default_jobs(), show_output=show_output, on_record=keep).run()
    ranks = tuple(sorted(records, key=lambda record: record.rank))
    torch_version = next((record.torch_version for record in ranks if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=ranks)


def default_jobs() -> int:
    """As many ranks at a time as there are cores for this process, and memory; at least one."""
    available_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), available_bytes // _RANK_BYTES))
