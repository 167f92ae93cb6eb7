"""What the analyses found in one run, as plain data. `build.py` fills it, `page/` and the formats read it.

Every breakdown is here already: readers of a Report do not group, sum or sort. Memory is kept by device: `RankReport.devices` has one
entry for each CUDA device that the rank allocated on, in order of first use; `Report.devices` has the devices of the nodes, with what
all their ranks allocate there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fakerun.analysis.baseline.baseline import Baseline
from fakerun.analysis.baseline.baseline import JobLine as JobLine
from fakerun.analysis.baseline.difference import Difference as Difference
from fakerun.analysis.baseline.places import Places
from fakerun.analysis.budgets.check import Check as Check
from fakerun.analysis.memory.advice import Advice
from fakerun.analysis.memory.breakdown import ModuleShare, TensorGroup
from fakerun.analysis.memory.curve import KERNELS as KERNELS
from fakerun.analysis.memory.curve import LAYERS as LAYERS
from fakerun.analysis.memory.curve import MemoryCurve as MemoryCurve
from fakerun.analysis.memory.curve import MemoryPeak as MemoryPeak
from fakerun.analysis.memory.devices import PhysicalDevice
from fakerun.analysis.memory.fit import MemoryFit
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.analysis.memory.history import MemoryHistory as MemoryHistory
from fakerun.analysis.memory.history import MemoryRequest as MemoryRequest
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.analysis.memory.reserved import PoolMemory as PoolMemory
from fakerun.analysis.memory.reserved import ReservedMemory
from fakerun.analysis.time.costs import OperationCost as OperationCost
from fakerun.analysis.time.costs import OperationKind as OperationKind
from fakerun.analysis.time.estimate import NoEstimate as NoEstimate
from fakerun.analysis.time.estimate import StepEstimate as StepEstimate
from fakerun.analysis.time.estimate import StepFigures as StepFigures
from fakerun.analysis.time.published_error import PublishedError as PublishedError
from fakerun.analysis.time.step_time import AxisTime as AxisTime
from fakerun.analysis.time.step_time import PathEntry as PathEntry
from fakerun.analysis.time.step_time import RankStepTime as RankStepTime
from fakerun.analysis.time.step_time import StepTime
from fakerun.analysis.time.timeline import RankTimeline as RankTimeline
from fakerun.analysis.time.timeline import Timeline as Timeline
from fakerun.analysis.time.timeline.inputs import Input as Input
from fakerun.analysis.time.timeline.inputs import OperationInputs as OperationInputs
from fakerun.analysis.time.timeline.inputs import TensorInput as TensorInput
from fakerun.analysis.time.timeline.memory_over_step import MemoryOverStep
from fakerun.analysis.time.timeline.occupancy import Layer as Layer
from fakerun.analysis.time.timeline.occupancy import StepOccupancy as StepOccupancy
from fakerun.analysis.time.timeline.occupancy import Track as Track
from fakerun.analysis.time.utilisation import CONVENTION as CONVENTION
from fakerun.analysis.traffic import GroupTraffic as GroupTraffic
from fakerun.analysis.traffic import Traffic
from fakerun.analysis.traffic import Volume as Volume
from fakerun.call_site import CallSite
from fakerun.errors import ExitCode
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import ProcessFailure, RankRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalDeviceReport:
    """A device of a node: whether what all ranks allocate there fits, and `contributions`, who allocates what, in words."""

    device: PhysicalDevice
    fit: MemoryFit
    contributions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceReport:
    """A change that lowers the peak of a device, and the verdict on the rank with it."""

    advice: Advice
    fit: MemoryFit


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """One rank's memory on one device: what it needs, whether that fits, and what was allocated at the peak.

    `cuda_index` is the device's number on the node; it and `physical`, the device with all ranks that allocate on it, are None for a
    rank that allocated nothing. `fit` is the verdict on this rank alone. `categories` has every category, in order, zeros included;
    modules and tensors come largest first.
    """

    cuda_index: int | None
    need: DeviceNeed
    fit: MemoryFit
    physical: PhysicalDeviceReport | None
    categories: Mapping[Category, int]
    modules: tuple[ModuleShare, ...]
    tensors: tuple[TensorGroup, ...]
    advice: tuple[AdviceReport, ...] = ()
    """Only of the device that needs most of those that do not fit."""

    @property
    def footprint(self) -> MemoryFootprint:
        return self.need.footprint

    @property
    def reserved(self) -> ReservedMemory:
        return self.need.reserved

    @property
    def peaks(self) -> tuple[int, int]:
        """What is reserved and what is allocated at the peak of each, in bytes: the order in which devices are compared."""
        return self.reserved.peak_bytes, self.footprint.peak_bytes

    @property
    def fit_on_node(self) -> MemoryFit:
        """The verdict on the device with all ranks that allocate on it."""
        return self.fit if self.physical is None else self.physical.fit


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReport:
    """One simulated rank.

    `coordinate` is the rank's index by axis of the mesh in effect, empty without one. `devices`
    has at least one entry, also for a rank that allocated nothing.
    """

    record: RankRecord
    coordinate: Mapping[str, int]
    devices: tuple[DeviceMemory, ...]
    traffic: Traffic

    @property
    def largest_device(self) -> DeviceMemory:
        """The device with the highest peak of this rank, the first of equals: the one to show in detail."""
        return max(self.devices, key=lambda device: device.peaks)

    @property
    def headroom_bytes(self) -> int:
        """The least headroom of its devices, counting all ranks that allocate there."""
        return min(device.fit_on_node.headroom_bytes for device in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """Ranks with the same behaviour: `simulated` (at least one) and `assumed`, both in order.

    `example` is the first of the simulated ranks. `mesh_box` is the part of the mesh that the ranks fill, None without a mesh.
    `headroom_bytes` is the least of the devices that any of the ranks allocates on, counting all ranks that allocate there.
    `last_step` is what one of the ranks communicates in its last completed step, or in all if it completed none.
    """

    simulated: tuple[int, ...]
    assumed: tuple[int, ...]
    example: RankReport
    mesh_box: str | None
    headroom_bytes: int
    last_step: Volume

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted((*self.simulated, *self.assumed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """Ranks that failed with the same cause at the same call site after `steps` steps. `failure` is that of the first of them."""

    ranks: tuple[int, ...]
    steps: int
    failure: ProcessFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedReport:
    """Ranks that are blocked in the same call, or for the same key, after `steps` steps. `waiting` says in words what they wait for."""

    ranks: tuple[int, ...]
    steps: int
    call_site: CallSite | None
    waiting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingReport:
    """A finding with all the places that it was made at, in order: a script that reads ten losses gets one note."""

    finding: Finding
    call_sites: tuple[CallSite, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankHistory:
    """What the allocators of the rank to show did, by the CUDA index of their device; and the curve of its largest device.

    `cuda_index` is that of this device; it and the curve are None if nothing was allocated.
    """

    devices: Mapping[int, MemoryHistory]
    cuda_index: int | None
    curve: MemoryCurve | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRank:
    """One class of ranks: when everything of its step ran, what each operation of its program was given, by number, and its memory.

    `memory` is by ordinal of the device.
    """

    timeline: RankTimeline
    inputs: Sequence[OperationInputs]
    memory: Mapping[int, MemoryOverStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownClass:
    """A class of ranks in the picture of a step. All that are shown have the columns of the same time."""

    timeline: RankTimeline
    occupancy: StepOccupancy


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeline:
    """A step of all ranks in detail: `ranks` are those of the timeline, `slowest` is the slowest class. `shown` is for a picture."""

    timeline: Timeline
    ranks: tuple[TracedRank, ...]
    slowest: TracedRank
    step: StepTime
    shown: tuple[ShownClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One job's run.

    `mesh` is the one in effect. `ranks` are those simulated, in order; every one of them is in one of the `classes`,
    and the reports of a class's ranks differ in coordinate, record and the numbers of their devices alone. `devices` are those of the
    nodes that a simulated rank allocates on. `findings` come most severe first; `grouped_findings` has the same ones with their places
    joined; `ignored_findings` has by code how many do not count, since they are to be ignored; findings of the severities `failing` fail
    the run. `checks` has what the run was held against, passed or not. `steps_completed` has the fewest and the most steps that a rank
    completed. `history` and `timeline` are None unless the format needs them.
    """

    job: JobSpec
    fakerun_version: str
    torch_version: str | None
    mesh: Mesh | None
    ranks: tuple[RankReport, ...]
    devices: tuple[PhysicalDeviceReport, ...]
    classes: tuple[ClassReport, ...]
    findings: tuple[Finding, ...]
    grouped_findings: tuple[FindingReport, ...]
    failures: tuple[FailureReport, ...]
    blocked: tuple[BlockedReport, ...]
    checks: tuple[Check, ...]
    steps_completed: tuple[int, int]
    ignored_findings: Mapping[FindingCode, int]
    failing: tuple[Severity, ...]
    exit_code: ExitCode
    step_time: StepEstimate | NoEstimate
    history: RankHistory | None = None
    timeline: StepTimeline | NoEstimate | None = None

    @property
    def needed_history(self) -> RankHistory:
        """The history, for a format that needs it.

        Raises:
            ValueError: the report was built without.
        """
        if self.history is None:
            raise ValueError("the report was built without its history; build it with_history")
        return self.history

    @property
    def needed_timeline(self) -> StepTimeline | NoEstimate:
        """The timeline, for a format that needs it.

        Raises:
            ValueError: the report was built without.
        """
        if self.timeline is None:
            raise ValueError("the report was built without its timeline; build it with_timeline")
        return self.timeline

    @property
    def failed(self) -> tuple[RankReport, ...]:
        return tuple(rank for rank in self.ranks if rank.record.failure is not None)

    @property
    def simulated(self) -> tuple[int, ...]:
        return tuple(rank.record.rank for rank in self.ranks)

    @property
    def failed_ranks(self) -> tuple[int, ...]:
        return tuple(rank.record.rank for rank in self.failed)

    @property
    def assumed_count(self) -> int:
        """How many ranks are taken to behave as simulated ones."""
        return sum(len(each.assumed) for each in self.classes)

    @property
    def stopped_after(self) -> int | None:
        """How many steps were completed when the script was stopped; None if it was not."""
        return max((rank.record.steps for rank in self.ranks if rank.record.stopped_at is not None), default=None)

    @property
    def fit(self) -> MemoryFit | None:
        """The verdict on the device with the least headroom, all its ranks counted; None if nothing was allocated."""
        return min((device.fit for device in self.devices), key=lambda fit: (fit.headroom_bytes, -fit.peak_bytes), default=None)

    @property
    def bus_bytes_per_step(self) -> int | None:
        """The most that a rank has in its last completed step; None if no rank completed one."""
        return max((each.last_step.bus_bytes for each in self.classes if each.example.record.steps), default=None)

    @property
    def step_figures(self) -> StepFigures | None:
        """What the result's line says of a step; None if no step time is known."""
        return None if isinstance(self.step_time, NoEstimate) else self.step_time.figures

    @property
    def largest(self) -> RankReport | None:
        """The rank with the least headroom on its devices, of these that with the highest peak, the first of equals: the one to show."""
        return max(self.ranks, key=lambda rank: (-rank.headroom_bytes, rank.largest_device.peaks), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedJob:
    """One side of a comparison: what it is called (a path, a job), its baseline, and the places of a run, empty for what was read."""

    name: str
    baseline: Baseline
    places: Places


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One quantity of a class of ranks, before and now. `unit` is that of both; `tolerance` is how far they may be apart, as text."""

    ranks: str
    what: str
    unit: Literal["bytes", "calls"]
    old: int
    new: int
    tolerance: str
    is_within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFact:
    """Something that was asked for and differs; it fails nothing by itself."""

    label: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs of a job, the old one and the new one. `findings` has each difference as a finding, in the same order."""

    old: ComparedJob
    new: ComparedJob
    facts: tuple[ChangedFact, ...]
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...]
    figures: tuple[ComparedFigure, ...]
    exit_code: ExitCode
