"""JudgedRun: what a run is judged by, and what is not known of it."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from fakerun.analysis.memory.devices import Devices, PhysicalDevice
from fakerun.analysis.time.estimate import NoEstimate, StepEstimate
from fakerun.job.budgets import Budgets
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord, RunRecord
from fakerun.units import name_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """The records of a run with what the analyses say of it, and the `budgets` that it must keep.

    `assumed` are records of assumed ranks; `placed` has the CUDA indices of each rank's devices, `devices` those of the nodes with what
    all ranks allocate there. `findings` are those that count, `matching` those of them that say whether ranks agree.
    """

    job: JobSpec
    run: RunRecord
    budgets: Budgets
    mesh: Mesh | None
    assumed: tuple[RankRecord, ...]
    placed: dict[int, Devices]
    devices: tuple[PhysicalDevice, ...]
    findings: tuple[Finding, ...]
    matching: tuple[Finding, ...]
    step_time: StepEstimate | NoEstimate
    is_of_simulated: bool = False
    """Whether the budgets are about the ranks that are simulated alone: a test is one rank of many."""

    @property
    def records(self) -> tuple[RankRecord, ...]:
        """Of all ranks that are known, simulated and assumed."""
        return (*self.run.ranks, *self.assumed)

    @property
    def every_rank(self) -> range:
        return range(self.job.world_size)

    def not_known(self, ranks: Iterable[int], *, only_simulated: bool = False) -> tuple[str, ...]:
        """Why some of the ranks may need more, or do other things, than is recorded; empty if all are known from beginning to end.

        `only_simulated` leaves out those that were not simulated.
        """
        simulated = {record.rank for record in self.run.ranks}
        return tuple(self._not_known(simulated.intersection(ranks) if only_simulated or self.is_of_simulated else set(ranks)))

    def _not_known(self, ranks: set[int]) -> Iterator[str]:
        representative = {rank: each.representative for each in self.run.assumed for rank in each.ranks}
        simulated = {record.rank: record for record in self.run.ranks}
        allowed = self.budgets.allowed_codes
        missing = ranks - simulated.keys() - representative.keys()
        if missing and not (self.job.auto_ranks and FindingCode.RANKS_UNKNOWN in allowed):
            yield f"{name_ranks(missing)} {_was(missing)} not simulated"
        if any(finding.code is FindingCode.RANKS_ASSUMED for finding in self.run.findings) and FindingCode.RANKS_ASSUMED not in allowed:
            assumed = ranks & representative.keys()
            if assumed:
                yield f"{name_ranks(assumed)} {_was(assumed)} not simulated, only assumed to match others"
        standing = {rank: simulated[representative.get(rank, rank)] for rank in ranks - missing}
        if failed := {rank for rank, record in standing.items() if record.failure is not None}:
            yield f"{name_ranks(failed)} failed"
        if blocked := {rank for rank, record in standing.items() if record.blocked is not None}:
            yield f"{name_ranks(blocked)} {'waits' if len(blocked) == 1 else 'wait'} for ever"


def _was(ranks: Collection[int]) -> str:
    return "was" if len(ranks) == 1 else "were"
