"""Budgets: the limits that a job's run must keep, as they were asked for. `analysis.budgets` holds a run against them.

Each says where it comes from: the file and line of a job file, or an option of the command line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.quantities import BYTES
from fakerun.job.ranks import parse_ranks
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode, Severity

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)\s*%")
_DEVICE = re.compile(r"cuda:([0-9]{1,4})(?:\s+of\s+node\s+([0-9]{1,9}))?")
_COORDINATE = re.compile(r"\s*([^=,\s]+)\s*=\s*([0-9]{1,9})\s*")

_SELECTION_SYNTAX = "write all, ranks (0,4-7), a place in the mesh (pp=0,tp=1) or a device (cuda:0, cuda:0 of node 1)"


class MemoryKey(StrEnum):
    """The budgets of device memory. All but `headroom` are limits from above."""

    PEAK_ALLOCATED = "peak_allocated"
    PEAK_RESERVED = "peak_reserved"
    DEVICE_TOTAL = "device_total"
    """What is reserved, and what is held outside the allocator."""
    HEADROOM = "headroom"
    """What must be left of the device's memory beside its total."""


class VolumeKey(StrEnum):
    """The budgets of communication, for a step of one rank."""

    BYTES = "bytes"
    BUS_BYTES = "bus_bytes"
    CALLS = "calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """An amount of device memory, as it was asked for: in bytes, or as a share of the accelerator's usable memory."""

    text: str
    nbytes: int | None = None
    share: float | None = None

    def on(self, hardware: Accelerator) -> int:
        """The limit in bytes."""
        return self.nbytes if self.nbytes is not None else int(hardware.usable_bytes * (self.share or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a memory budget is about, as `text` has it: ranks, a place in the mesh, a device; every device if it is about none of these."""

    text: str = ""
    ranks: tuple[tuple[int, int], ...] = ()
    """Ranges, first and last included."""
    coordinate: Mapping[str, int] = field(default_factory=dict)
    """Indices by axis of the mesh."""
    cuda_index: int | None = None
    node: int | None = None
    """Of `cuda_index`; None for every node."""


EVERY_DEVICE = Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """A limit on the memory of what is selected."""

    key: MemoryKey
    of: Selection = EVERY_DEVICE
    limit: MemoryLimit
    source: str
    only_simulated: bool = False
    """Whether it is about the ranks that a run simulates, whatever others do."""

    @property
    def name(self) -> str:
        return f"{self.key}.{self.of.text}" if self.of.text else self.key.value


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunicationBudget:
    """The most that a rank may communicate in a step: in all, or over one group (`group`, a mesh axis), by one operation, between nodes."""

    key: VolumeKey
    most: int
    text: str
    """The limit as it was written."""
    source: str
    group: str | None = None
    op: CollectiveOp | None = None
    is_inter_node: bool = False

    @property
    def name(self) -> str:
        scope = self.op or self.group or ("inter_node" if self.is_inter_node else "")
        return ".".join(filter(None, ("communication", scope, self.key)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeBudget:
    """The most seconds that a step may take. `text` is the limit as it was written."""

    most_s: float
    text: str
    source: str
    name: str = "step_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCollectives:
    """Operations that must not be issued: in a phase, in modules whose names match a pattern, or anywhere."""

    name: str
    ops: tuple[CollectiveOp, ...] = tuple(CollectiveOp)
    phase: Phase | None = None
    module: str | None = None
    source: str
    only_simulated: bool = False
    """Whether it is about the ranks that a run simulates, whatever others do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """A statement that must hold (`on`), or need not."""

    on: bool = True
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBudget:
    """A code of findings that is allowed, or forbidden."""

    code: FindingCode
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """All limits that a run must keep; of those that are None nothing was said.

    Findings of `allowed` codes are left out and counted; those of `forbidden` codes, and with `strict` all warnings, fail the run.
    """

    memory: tuple[MemoryBudget, ...] = ()
    communication: tuple[CommunicationBudget, ...] = ()
    no_collectives: tuple[NoCollectives, ...] = ()
    step_time: StepTimeBudget | None = None
    ranks_agree: Required | None = None
    fits: Required | None = None
    no_unawaited_async: Required | None = None
    strict: Required | None = None
    allowed: tuple[CodeBudget, ...] = ()
    forbidden: tuple[CodeBudget, ...] = ()

    @property
    def allowed_codes(self) -> frozenset[FindingCode]:
        return frozenset(each.code for each in self.allowed)

    @property
    def failing(self) -> tuple[Severity, ...]:
        """The severities of findings that fail a run."""
        is_strict = self.strict is not None and self.strict.on
        return (Severity.ERROR, Severity.WARNING) if is_strict else (Severity.ERROR,)

    def over(self, below: "Budgets") -> "Budgets":
        """These budgets, and those of `below` of other names."""
        names = {
            *(each.name for each in self.memory),
            *(each.name for each in self.communication),
            *(each.name for each in self.no_collectives),
        }
        return replace(
            below,
            memory=(*self.memory, *(each for each in below.memory if each.name not in names)),
            communication=(*self.communication, *(each for each in below.communication if each.name not in names)),
            no_collectives=(*self.no_collectives, *(each for each in below.no_collectives if each.name not in names)),
            step_time=self.step_time or below.step_time,
            ranks_agree=self.ranks_agree or below.ranks_agree,
            fits=self.fits or below.fits,
            no_unawaited_async=self.no_unawaited_async or below.no_unawaited_async,
            strict=self.strict or below.strict,
            allowed=_by_code((*self.allowed, *below.allowed)),
            forbidden=_by_code((*self.forbidden, *below.forbidden)),
        )


def _by_code(budgets: tuple[CodeBudget, ...]) -> tuple[CodeBudget, ...]:
    """The first of each code."""
    found: dict[FindingCode, CodeBudget] = {}
    for each in budgets:
        found.setdefault(each.code, each)
    return tuple(found.values())


def default_budgets(source: str) -> Budgets:
    """What a run must keep that is to be judged, unless it is said otherwise: its ranks agree, and it fits."""
    return Budgets(ranks_agree=Required(source=source), fits=Required(source=source))


def parse_memory_limit(text: str) -> MemoryLimit:
    """`72GiB`, or `90%` of the accelerator's memory.

    Raises:
        UsageError: the text is neither.
    """
    percent = _PERCENT.fullmatch(text.strip())
    if percent is None:
        try:
            return MemoryLimit(text=text.strip(), nbytes=int(BYTES.parse(text)))
        except UsageError as error:
            raise UsageError(f"{error}, or a share of the accelerator's memory, as in 90%") from error
    share = float(percent[1]) / 100
    if not 0 < share <= 1:
        raise UsageError(f"{text!r} is not possible: a share must be above 0 % and at most 100 %")
    return MemoryLimit(text=text.strip(), share=share)


def parse_selection(text: str) -> Selection:
    """`all`, `0,4-7`, `pp=0,tp=1`, `cuda:0`, `cuda:0 of node 1`.

    Raises:
        UsageError: the text is none of these.
    """
    stripped = text.strip()
    if stripped == "all":
        return EVERY_DEVICE
    if device := _DEVICE.fullmatch(stripped):
        return Selection(text=stripped, cuda_index=int(device[1]), node=None if device[2] is None else int(device[2]))
    if "=" in stripped:
        parts = [_COORDINATE.fullmatch(part) for part in stripped.split(",")]
        found = {part[1]: int(part[2]) for part in parts if part is not None}
        if len(found) < len(parts):
            raise UsageError(f"{text!r} is not a place in the mesh: give each axis once, with an index, as in pp=0,tp=1")
        return Selection(text=stripped, coordinate=found)
    try:
        choice = parse_ranks(stripped)
    except UsageError as error:
        raise UsageError(f"{text!r} selects nothing; {_SELECTION_SYNTAX}") from error
    if choice.auto or choice.ranges is None:
        raise UsageError(f"{text!r} selects nothing; {_SELECTION_SYNTAX}")
    return Selection(text=stripped, ranks=choice.ranges)
