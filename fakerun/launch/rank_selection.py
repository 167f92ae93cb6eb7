"""Which ranks of a job to simulate, decided while it runs: those that the job lists, or representatives of all ranks."""

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import fakerun
from fakerun.analysis.classes import Fingerprint, Fingerprints
from fakerun.analysis.representatives import (
    MAX_CLASSES,
    Counterparts,
    CreatedGroups,
    Equivalence,
    Outcomes,
    RankColumns,
    Representatives,
    unfollowed_uses,
)
from fakerun.job.codec import encode_job
from fakerun.job.request import DEFAULT_SAMPLES
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh, mesh_in_effect
from fakerun.records.rank_function import UnfollowedUse
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
        self._equivalence: Equivalence | None = None
        self._outcomes = _KnownOutcomes(job)

    def next(self, records: Mapping[int, RankRecord]) -> Collection[int]:
        mesh = self._mesh(records.values())
        outcomes = self._outcomes.of(records.values(), mesh)
        self._plan = Representatives(mesh, outcomes, samples=self._job.samples, seed=_seed(self._job))
        fingerprints = self._by_rank(records)
        self._equivalence = self._plan.equivalence(fingerprints) if fingerprints else None
        return self._plan.next(fingerprints)

    def representative_of(self, rank: int) -> int:
        if self._plan is None:
            return rank
        known = None if self._equivalence is None else self._equivalence.representative(rank)
        return self._plan.stage_rank(rank) if known is None else known

    def run_record(self, records: Mapping[int, RankRecord], *, is_complete: bool) -> RunRecord:
        run = replace(run_record_of(records.values()), is_complete=is_complete)
        if not is_complete or self._plan is None:
            return run
        counterparts = Counterparts(run.ranks, self._plan.mesh)
        selection = self._plan.selection(
            self._by_rank(records), unfollowed=(*unfollowed_uses(run.ranks), *self._outcomes.lookups), groupless=counterparts.unknown
        )
        return replace(run, assumed=selection.assumed, mesh=self._plan.mesh if selection.assumed else None, findings=selection.findings)

    def _by_rank(self, records: Mapping[int, RankRecord]) -> dict[int, Fingerprint]:
        return {rank: self._fingerprints.of(record) for rank, record in records.items()}

    def _mesh(self, records: Iterable[RankRecord]) -> Mesh:
        """The mesh in effect; without one of all ranks, nodes and ranks on a node."""
        mesh = mesh_in_effect(self._job.mesh, (record.mesh for record in records))
        if mesh is None or mesh.world_size != self._job.world_size:
            mesh = Mesh(axes=("node", "local"), sizes=(self._job.nnodes, self._job.nproc_per_node))
        return mesh


class _KnownOutcomes:
    """The classes of ranks by what simulated ranks tested, and by the groups that they create. Each rank's tests are taken in once."""

    def __init__(self, job: JobSpec) -> None:
        self._job = job
        self._mesh: Mesh | None = None
        self._created = CreatedGroups((), job.world_size)
        self._outcomes: Outcomes | None = None
        self._taken: set[int] = set()

    def of(self, records: Collection[RankRecord], mesh: Mesh) -> Outcomes:
        """All that follows from these records, which include those of the last call."""
        created = self._created = CreatedGroups(records, mesh.world_size)
        if self._outcomes is None or mesh != self._mesh:
            columns = RankColumns(mesh, ranks_per_node=self._job.nproc_per_node, is_created=self._is_created)
            self._outcomes, self._mesh, self._taken = Outcomes(columns, mesh.world_size, limit=MAX_CLASSES), mesh, set()
        new = [record for record in sorted(records, key=lambda record: record.rank) if record.rank not in self._taken]
        self._taken |= {record.rank for record in new}
        self._outcomes.add_memberships(created.memberships())
        self._outcomes.add(test for record in new for test in record.rank_tests)
        return self._outcomes

    @property
    def lookups(self) -> tuple[UnfollowedUse, ...]:
        """Uses of the rank that only the tests of many ranks show to be such."""
        return () if self._outcomes is None else self._outcomes.lookups

    def _is_created(self, members: tuple[int, ...]) -> bool:
        return self._created.exists(members)


def selection_for(job: JobSpec) -> RankSelection:
    """How the ranks of this job are chosen."""
    return RepresentativeRanks(job) if job.auto_ranks else ListedRanks(job)


def run_record_of(ranks: Iterable[RankRecord], *, added: Collection[int] = ()) -> RunRecord:
    """The record of a run of these ranks; `added` are those that were simulated for the sake of others."""
    in_order = tuple(sorted(ranks, key=lambda record: record.rank))
    torch_version = next((record.torch_version for record in in_order if record.torch_version is not None), None)
    return RunRecord(fakerun_version=fakerun.__version__, torch_version=torch_version, ranks=in_order, added=tuple(sorted(added)))


def _seed(job: JobSpec) -> int:
    """Of the spot checks: the same job has the same ones, whatever it is held against, and `--seed` other ones."""
    return job.seed if job.seed is not None else zlib.crc32(encode_job(replace(job.without_limits(), samples=DEFAULT_SAMPLES)))
