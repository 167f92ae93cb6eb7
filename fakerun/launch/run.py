"""Running a job: its ranks, and the records of all of them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import fakerun
from fakerun.job.spec import JobSpec
from fakerun.launch.pool import Limits, RankPool
from fakerun.launch.run_directory import RunDirectory
from fakerun.records.run import RankRecord, RunRecord
from fakerun.units import GIB

_RANK_BYTES = GIB // 2
"""What a rank of a large model takes of the host: 0.4 GB were seen for 70B parameters, much of it shared with the other ranks."""


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

    pool = RankPool(job, directory, limits=_limits(jobs), show_output=show_output, on_record=keep)
    pool.run()
    ranks = tuple(sorted(records, key=lambda record: record.rank))
    torch_version = next((record.torch_version for record in ranks if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=ranks, summoned=tuple(sorted(pool.summoned)))


def _limits(jobs: int | None) -> Limits:
    """By default as many ranks work as there are cores for this process; as many are alive as the memory has room for."""
    room = max(1, _available_bytes() // _RANK_BYTES)
    return Limits(working=jobs or min(len(os.sched_getaffinity(0)), room), alive=max(jobs or 1, room))


def _available_bytes() -> int:
    """What processes can get, the page cache included (proc_meminfo(5), MemAvailable)."""
    (kilobytes,) = re.findall(r"^MemAvailable:\s+([0-9]+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024
