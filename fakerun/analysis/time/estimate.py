"""StepEstimate: how long a step of a job takes, with all that is added to the sum of its costs, and how far off that may be."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.published_error import PublishedError
from fakerun.analysis.time.remarks import MOST_UNTABLED, ROOFLINE_ERROR, remarks_on_figures, remarks_on_given
from fakerun.analysis.time.step_time import PathEntry, StepTime
from fakerun.analysis.time.timeline import RankTimeline, Timeline
from fakerun.analysis.time.unknown_calls import calls_without_cost
from fakerun.analysis.time.utilisation import StepFlops, Tokens, Utilisation, mean_flops, step_flops, utilisation
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import Operation


class Correction(StrEnum):
    """What the sum of costs is divided by."""

    NONE = "none"
    PUBLISHED = "published-run constant"
    """The share of published steps that the sum of their costs explains."""
    MEASURED = "measured step"
    """The share of the user's own step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """What the result of a run says in a line; None is not known.

    `without` names what the step takes time for that is not in `seconds`, which then is the least that a step takes, and the others are the
    most; empty if there is nothing.
    """

    seconds: float
    mfu: float | None
    tokens_per_s_per_device: float | None
    without: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTime:
    """Seconds of kernels of the modules of one name, in which every index is `*`; `module` is None for what is outside of modules."""

    module: str | None
    instances: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEstimate:
    """A step of a job in seconds. `summed` is what its costs add up to when they are played, `explained` which share of a step that is.

    `low_s` and `high_s` are where the published runs of this kind lie; None where there are none. `remarks` are what else to know of the
    figures, in sentences.
    """

    seconds: float
    low_s: float | None
    high_s: float | None
    summed: StepTime
    correction: Correction
    explained: float
    published: PublishedError | None
    margin: float
    """What is added to the error of published runs on either side, for a card that was not measured."""
    utilisation: Utilisation
    modules: tuple[ModuleTime, ...]
    """Of the slowest ranks, those with most time first."""
    path: tuple[PathEntry, ...]
    """The critical path, modules that differ in an index alone together; the longest first."""
    remarks: tuple[str, ...]
    without: str = ""
    """What has no known cost and counts as 0 s: some communication or all. Empty if there is nothing, or the step is measured."""

    @property
    def figures(self) -> StepFigures:
        used = self.utilisation
        per_device = used.tokens_per_s_per_device
        return StepFigures(seconds=self.seconds, mfu=used.mfu, tokens_per_s_per_device=per_device, without=self.without)

    @property
    def range_s(self) -> tuple[float, float]:
        """From the least to the most that a step may take, as far as published runs tell; the estimate alone where there are none.

        There is no most where something has no known cost.
        """
        high_s = inf if self.without else self.high_s
        return (self.seconds if self.low_s is None else self.low_s), (self.seconds if high_s is None else high_s)

    @property
    def not_modelled_s(self) -> float:
        """What is added to the sum."""
        return self.seconds - self.summed.seconds


@dataclass(frozen=True, slots=True)
class NoEstimate:
    """A job of which no step time is known, and why."""

    reason: str


def flops_of(timeline: Timeline, operation_cost: Callable[[Operation], OperationCost | None]) -> StepFlops:
    """The FLOPs of the step of an average rank."""
    return mean_flops((step_flops(each.program, timeline.step, operation_cost), len(each.ranks)) for each in timeline.ranks)


def estimate_of(
    timeline: Timeline,
    summed: StepTime,
    *,
    published: PublishedError | None,
    constant: float | None,
    measured_s: float | None,
    flops: StepFlops,
    tokens: Tokens,
    accelerator: Accelerator,
    world_size: int,
    ranks_per_node: int | None = None,
) -> StepEstimate:
    """The estimate of a step whose costs add up to `summed`, as they were played in `timeline`.

    `published` is what runs of its kind say, None where there are none; the `constant` is the same for all kinds, None where there is none.
    A step that was measured (`measured_s`) on the user's machine goes before the published runs: it is the estimate, and says what share of
    it is explained.
    """
    low_s = high_s = None
    untabled = _untabled_share(timeline.slowest, moving_is_measured=accelerator.memory_share is not None)
    margin = ROOFLINE_ERROR if untabled > MOST_UNTABLED else 0.0
    if measured_s is not None:
        seconds, correction = measured_s, Correction.MEASURED
    elif constant is not None:
        seconds, correction = summed.seconds / constant, Correction.PUBLISHED
    else:
        seconds, correction = summed.seconds, Correction.NONE
    without = "" if correction is Correction.MEASURED else calls_without_cost(timeline, ranks_per_node)
    if published is not None and correction is Correction.PUBLISHED and not without:
        low_s, high_s = seconds * max(published.low - margin, 0.0), seconds * (published.high + margin)
    used = utilisation(seconds, flops, tokens, accelerator, world_size, _devices_of_rank(timeline))
    return StepEstimate(
        seconds=seconds,
        low_s=low_s,
        high_s=high_s,
        summed=summed,
        correction=correction,
        explained=summed.seconds / seconds,
        published=published if correction is Correction.PUBLISHED and not without else None,
        margin=margin,
        utilisation=used,
        modules=tuple(_modules(summed.slowest.module_s)),
        path=tuple(_path(summed.critical_path)),
        remarks=(
            *remarks_on_given(used, accelerator, timeline, is_measured=correction is Correction.MEASURED),
            *remarks_on_figures(summed, timeline, untabled),
        ),
        without=without,
    )


def _devices_of_rank(timeline: Timeline) -> float:
    """How many devices a rank uses, on average."""
    devices = sum(max(len(each.record.devices), 1) * len(each.ranks) for each in timeline.ranks)
    return devices / sum(len(each.ranks) for each in timeline.ranks)


def _untabled_share(rank: RankTimeline, *, moving_is_measured: bool) -> float:
    """The share of the time of products and attention whose costs are not from tables of the card.

    Products that take as long as their bytes need are from its memory bandwidth, of which what kernels reach may be measured.
    """
    total = untabled = 0.0
    for number, count in Counter(rank.operations.operations).items():
        cost = rank.costs[number]
        if cost is not None and cost.kind in (OperationKind.MATRIX_PRODUCT, OperationKind.ATTENTION):
            total += count * cost.seconds
            is_tabled = cost.basis not in (Basis.ROOFLINE, Basis.EXTRAPOLATED) or (cost.moves_longer and moving_is_measured)
            untabled += count * cost.seconds * (not is_tabled)
    return untabled / total if total else 0.0


def _modules(seconds: Mapping[str, float]) -> Iterator[ModuleTime]:
    found: dict[str | None, list[float]] = {}
    for module, each in seconds.items():
        found.setdefault(module_pattern(module or None), []).append(each)
    for pattern, all_of_it in sorted(found.items(), key=lambda item: -sum(item[1])):
        yield ModuleTime(module=pattern, instances=len(all_of_it), seconds=sum(all_of_it))


def _path(entries: Iterable[PathEntry]) -> Iterator[PathEntry]:
    found: dict[PathEntry, list[PathEntry]] = {}
    for entry in entries:
        alike = replace(entry, module=module_pattern(entry.module), seconds=0.0, count=0)
        found.setdefault(alike, []).append(entry)
    joined = (
        replace(alike, seconds=sum(each.seconds for each in of_it), count=sum(each.count for each in of_it))
        for alike, of_it in found.items()
    )
    yield from sorted(joined, key=lambda entry: -entry.seconds)
