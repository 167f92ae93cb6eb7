"""Running a job: its ranks, and the records of all of them."""

import os
import re
import zlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Protocol

import fakerun
from fakerun.analysis.classes import Traces
from fakerun.analysis.representatives import Representatives
from fakerun.job.codec import encode_job
from fakerun.job.named_ranks import named_ranks
from fakerun.job.spec import JobSpec
from fakerun.launch.pool import Limits, RankPool
from fakerun.launch.resume import finished_ranks
from fakerun.launch.run_directory import RunDirectory
from fakerun.records.run import RankRecord, RunRecord
from fakerun.units import GIB

_RANK_BYTES = GIB // 2
"""What a rank of a large model takes of the host: 0.4 GB were seen for 70B parameters, much of it shared with the other ranks."""


class RunWatcher(Protocol):
    """Whoever wants to know how far a run has come."""

    def planned(self, ranks: Collection[int]) -> None:
        """These ranks are to be simulated too."""

    def ended(self, record: RankRecord) -> None:
        """A rank has ended, or its record was there already."""


class _Nobody:
    def planned(self, ranks: Collection[int]) -> None: ...

    def ended(self, record: RankRecord) -> None: ...


_NOBODY = _Nobody()


def run_job(
    job: JobSpec, directory: RunDirectory, *, show_output: bool, jobs: int | None = None, watcher: RunWatcher = _NOBODY
) -> RunRecord:
    """Simulate the job's ranks and collect a record of each, however it ended.

    Job, records and output are kept in `directory` (of `open_run_directory`; of `resume_run_directory`: ranks that are finished there are
    not simulated again, unless others wait for what they say). `show_output` copies what the ranks print to stderr as they print it.
    `jobs` ranks run at a time, by default as many as this machine has cores and memory for. The `watcher` is told of each rank.
    """
    records = {record.rank: record for record in finished_ranks(directory)}
    directory.write_job(job)
    directory.records.write_run(replace(_run_record((), ()), is_complete=False))
    wanted = set(job.ranks) if not job.auto_ranks else records.keys()
    watcher.planned(wanted)
    for record in records.values():
        watcher.ended(record)

    def keep(record: RankRecord) -> None:
        records[record.rank] = record
        watcher.ended(record)

    with RankPool(job, directory, limits=_limits(jobs), show_output=show_output, on_record=keep) as pool:
        if job.auto_ranks:
            run = _run_representatives(job, pool, records, watcher)
        else:
            pool.run(rank for rank in job.ranks if rank not in records)
            run = _run_record(records.values(), (rank for rank in records if rank not in wanted))
    run = replace(run, is_complete=not pool.is_interrupted)
    directory.records.write_run(run)
    return run


def _run_representatives(job: JobSpec, pool: RankPool, records: dict[int, RankRecord], watcher: RunWatcher) -> RunRecord:
    """Simulate ranks until nothing more is to be learnt of the others."""
    traces = Traces()
    while True:
        plan = _representatives(job, records.values())
        pool.mailbox.representative_of = plan.stand_in
        seen = {rank: traces.of(record) for rank, record in records.items()}
        more = plan.next(seen)
        if pool.is_interrupted or not more:
            break
        watcher.planned(more)
        pool.run(more)
    run = _run_record(records.values(), ())
    if pool.is_interrupted:
        return run
    choice = plan.choice(seen)
    return replace(run, assumed=choice.assumed, grid=plan.axes if choice.assumed else {}, findings=choice.findings)


def _representatives(job: JobSpec, records: Iterable[RankRecord]) -> Representatives:
    """On the axes of the mesh that ranks had in effect, else of the job's; without one, on nodes and ranks on a node."""
    axes = next((record.mesh for record in records if record.mesh), None)
    if axes is None and job.mesh is not None:
        axes = dict(zip(job.mesh.axes, job.mesh.sizes, strict=True))
    if axes is None or prod(axes.values()) != job.world_size:
        axes = {"node": job.nnodes, "local": job.nproc_per_node}
    named = named_ranks(job.script) if job.script is not None else ()
    return Representatives(axes, named, ranks_per_node=job.nproc_per_node, seed=zlib.crc32(encode_job(job)))


def _run_record(ranks: Iterable[RankRecord], added: Iterable[int]) -> RunRecord:
    in_order = tuple(sorted(ranks, key=lambda record: record.rank))
    torch_version = next((record.torch_version for record in in_order if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=in_order, added=tuple(sorted(added)))


def _limits(jobs: int | None) -> Limits:
    """By default as many ranks work as there are cores for this process; as many are alive as the memory has room for."""
    room = max(1, _available_bytes() // _RANK_BYTES)
    return Limits(working=jobs or min(len(os.sched_getaffinity(0)), room), alive=max(jobs or 1, room))


def _available_bytes() -> int:
    """What processes can get, the page cache included (proc_meminfo(5), MemAvailable)."""
    (kilobytes,) = re.findall(r"^MemAvailable:\s+([0-9]+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024
