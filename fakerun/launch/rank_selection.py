"""Which ranks of a job to simulate, decided while it runs: those that the job lists, or representatives of all ranks."""

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import fakerun
from fakerun.analysis.classes import Fingerprints
from fakerun.analysis.representatives import Representatives
from fakerun.job.codec import encode_job
from fakerun.job.named_ranks import named_ranks
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh, mesh_in_effect
from fakerun.records.run import RankRecord, RunRecord


class RankSelection(Protocol):
    """Chooses the ranks of one job, some at a time."""

    def next(self, records: Mapping[int, RankRecord]) -> Collection[int]:
        """The ranks to simulate next, given the records so far; none when the job is done."""

    def representative_of(self, rank: int) -> int:
        """The rank whose behaviour is taken for that of `rank`, as far as is known now; `rank` itself if none is."""

    def run_record(self, records: Mapping[int, RankRecord], *, is_complete: bool) -> RunRecord:
        """The record of the run, with what is assumed of ranks that were not simulated if the run is complete."""


class ListedRanks:
    """The ranks that the job lists. Others are simulated only if one of these waits for what they send."""

    def __init__(self, job: JobSpec) -> None:
        self._ranks = job.ranks

    def next(self, records: Mapping[int, RankRecord]) -> Collection[int]:
        return tuple(rank for rank in self._ranks if rank not in records)

    def representative_of(self, rank: int) -> int:
        return rank

    def run_record(self, records: Mapping[int, RankRecord], *, is_complete: bool) -> RunRecord:
        return replace(run_record_of(records.values(), added=records.keys() - set(self._ranks)), is_complete=is_complete)


class RepresentativeRanks:
    """Ranks that represent all others (`--ranks auto`), chosen in rounds until another one would not tell more."""

    def __init__(self, job: JobSpec) -> None:
        self._job = job
        self._fingerprints = Fingerprints()
        self._plan: Representatives | None = None

    def next(self, records: Mapping[int, RankRecord]) -> Collection[int]:
        self._plan = _representatives(self._job, records.values())
        return self._plan.next({rank: self._fingerprints.of(record) for rank, record in records.items()})

    def representative_of(self, rank: int) -> int:
        return rank if self._plan is None else self._plan.stage_rank(rank)

    def run_record(self, records: Mapping[int, RankRecord], *, is_complete: bool) -> RunRecord:
        run = replace(run_record_of(records.values()), is_complete=is_complete)
        if not is_complete or self._plan is None:
            return run
        selection = self._plan.selection({rank: self._fingerprints.of(record) for rank, record in records.items()})
        return replace(run, assumed=selection.assumed, mesh=self._plan.mesh if selection.assumed else None, findings=selection.findings)


def selection_for(job: JobSpec) -> RankSelection:
    """How the ranks of this job are chosen."""
    return RepresentativeRanks(job) if job.auto_ranks else ListedRanks(job)


def run_record_of(ranks: Iterable[RankRecord], *, added: Collection[int] = ()) -> RunRecord:
    """The record of a run of these ranks; `added` are those that were simulated for the sake of others."""
    in_order = tuple(sorted(ranks, key=lambda record: record.rank))
    torch_version = next((record.torch_version for record in in_order if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=in_order, added=tuple(sorted(added)))


def _representatives(job: JobSpec, records: Iterable[RankRecord]) -> Representatives:
    """On the mesh in effect; without one of all ranks, on nodes and ranks on a node."""
    mesh = mesh_in_effect(job.mesh, (record.mesh for record in records))
    if mesh is None or mesh.world_size != job.world_size:
        mesh = Mesh(axes=("node", "local"), sizes=(job.nnodes, job.nproc_per_node))
    named = named_ranks(job.script) if job.script is not None else ()
    return Representatives(mesh, named, ranks_per_node=job.nproc_per_node, seed=zlib.crc32(encode_job(job)))
