"""StepTime: what a timeline says of a step: how long it takes, what it is spent on, what it waits for, what could be gained."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from fakerun.analysis.time.costs import Basis, OperationKind
from fakerun.analysis.time.critical_path import PathEntry, critical_path
from fakerun.analysis.time.time_by_kind import AxisTime, TimeByKind, TimeKind
from fakerun.analysis.time.timeline import Player, RankTimeline, Timeline

__all__ = ["AxisTime", "PathEntry", "RankStepTime", "StepTime", "TimeKind", "step_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStepTime:
    """The step of one class of ranks. The seconds of `kinds` add up to `seconds`; every kind has an entry."""

    representative: int
    ranks: tuple[int, ...]
    seconds: float
    kinds: Mapping[TimeKind, float]
    communication: tuple[AxisTime, ...]
    """By label, those with most exposed time first."""
    kernel_s: Mapping[OperationKind, float]
    """Seconds of kernels by what they do; kernels of several streams may run at the same time."""
    module_s: Mapping[str, float]
    """Seconds of kernels by module; "" is outside of modules."""
    basis_s: Mapping[Basis, float]
    """Seconds of kernels by what their costs are taken from."""
    call_basis_s: Mapping[Basis, float]
    """Seconds of calls by what their costs are taken from."""
    flops: int
    """Of the step, as the kernels execute them: see `OperationCost`."""
    full_flops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A step of the job. `slowest` is the class of ranks that takes longest; `seconds` and the critical path are those of its step."""

    step: int
    is_first_step: bool
    """The job completed only one step: what is done once, as making the optimizer's states, is in it."""
    seconds: float
    slowest: RankStepTime
    ranks: tuple[RankStepTime, ...]
    critical_path: tuple[PathEntry, ...]
    """The longest first; they add up to `seconds`."""
    gains_s: Mapping[str, float] = field(default_factory=dict)
    """By label of groups how much shorter the step would be if their calls took no time."""
    unknown_members: tuple[str, ...] = ()
    """As of `Timeline`."""
    joins_programs: bool = False
    """As of `Timeline`."""


def step_time(player: Player) -> tuple[Timeline, StepTime]:
    """The timeline of a step, and what it says."""
    timeline = player.timeline()
    ranks = tuple(map(_rank_step_time, timeline.ranks))
    slowest = ranks[timeline.ranks.index(timeline.slowest)]
    return timeline, StepTime(
        step=timeline.step,
        is_first_step=timeline.is_first_step,
        seconds=slowest.seconds,
        slowest=slowest,
        ranks=ranks,
        critical_path=critical_path(timeline),
        gains_s={label: player.gain_s(label) for label in player.labels},
        unknown_members=timeline.unknown_members,
        joins_programs=timeline.joins_programs,
    )


def _rank_step_time(rank: RankTimeline) -> RankStepTime:
    by_kind = TimeByKind(rank)
    by_operation, by_block = _kernel_seconds(rank)
    kernels: dict[OperationKind, float] = defaultdict(float)
    bases: dict[Basis, float] = defaultdict(float)
    for number, seconds in by_operation.items():
        cost = rank.costs[number]
        if cost is not None:
            kernels[cost.kind] += seconds
            bases[cost.basis] += seconds
    modules: dict[str, float] = defaultdict(float)
    for block, seconds in by_block.items():
        modules[(rank.program.blocks[block].module if block >= 0 else None) or ""] += seconds
    counts = Counter(rank.operations.operations)
    priced = [(cost, count) for number, count in counts.items() if (cost := rank.costs[number]) is not None]
    return RankStepTime(
        representative=rank.representative,
        ranks=rank.ranks,
        seconds=rank.seconds,
        kinds=by_kind.kinds,
        communication=by_kind.communication,
        kernel_s=dict(kernels),
        module_s=dict(modules),
        basis_s=dict(bases),
        call_basis_s=_call_basis_seconds(rank),
        flops=sum(cost.flops * count for cost, count in priced),
        full_flops=sum(cost.full_flops * count for cost, count in priced),
    )


def _kernel_seconds(rank: RankTimeline) -> tuple[Mapping[int, float], Mapping[int, float]]:
    """Seconds of kernels by number of the operation, and by that of the memory of its result."""
    by_operation: dict[int, float] = defaultdict(float)
    by_block: dict[int, float] = defaultdict(float)
    operations = rank.operations
    for start, end, number, block in zip(operations.starts, operations.ends, operations.operations, operations.blocks, strict=True):
        by_operation[number] += end - start
        by_block[block] += end - start
    return by_operation, by_block


def _call_basis_seconds(rank: RankTimeline) -> Mapping[Basis, float]:
    seconds: dict[Basis, float] = defaultdict(float)
    calls = rank.calls
    for number, first in enumerate(calls.firsts):
        if first == number:
            seconds[calls.costs[number].basis] += calls.ends[number] - calls.starts[number]
    return dict(seconds)
