"""A case of this suite: a program that takes more memory than it need, and what it must be seen to hold when its memory peaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fakerun.analysis.memory.footprint import MemoryFootprint, footprints_by_device
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.collective import Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.memory import Category
from fakerun.records.run import RankRecord
from tests.matching.case import Program

REPORTS = Path(__file__).parent / "reports"


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is meant of the memory at a peak: that of a category, which a rank allocated on a device in a phase (None: in any)."""

    category: Category
    phase: Phase | None = None
    rank: int = 0
    cuda_index: int = 0

    def nbytes(self, ranks: Sequence[RankRecord]) -> int:
        """Its bytes."""
        return sum(
            block.nbytes
            for block in self.footprint(ranks).alive_at_peak
            if block.category is self.category and self.phase in (None, block.phase)
        )

    def footprint(self, ranks: Sequence[RankRecord]) -> MemoryFootprint:
        """All of the rank's memory on the device."""
        (record,) = (each for each in ranks if each.rank == self.rank)
        if self.cuda_index not in record.devices:
            return MemoryFootprint()
        return footprints_by_device(timeline_of(record.program))[record.devices.index(self.cuda_index)]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a report says of the memory in question, in words and in bytes, and how far (a fraction) its figure may be from ours."""

    says: str
    nbytes: float
    within: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """A public report. `at` is its path on GitHub; `bug_bytes` and `fixed_bytes` are what the program and its twin hold, by a formula.

    `finding` is the only error or warning, which must name the memory and its line; the twin has none.
    """

    name: str
    at: str
    world_size: int
    held: Held
    bug_bytes: int
    fixed_bytes: int
    figure: Figure | None = None
    hardware: str = "h100-80gb"
    finding: FindingCode | None = None

    @property
    def program(self) -> Program:
        return Program(path=REPORTS / self.name / "bug.py")

    @property
    def twin(self) -> Program:
        return Program(path=REPORTS / self.name / "fixed.py")
