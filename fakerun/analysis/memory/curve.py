"""MemoryCurve: reserved memory, and what is allocated of it by category, over the program: few enough points to draw."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fakerun.allocator.action import Action
from fakerun.allocator.history import HistoryEntry
from fakerun.analysis.memory.history import MemoryHistory, MemoryRequest
from fakerun.records.collective import Phase
from fakerun.records.memory import Category, MemoryBlock

KERNELS = "kernels"
"""What kernels take beside their results: workspaces and temporaries."""

LAYERS: tuple[str, ...] = (
    Category.PARAMETER,
    Category.BUFFER,
    Category.OPTIMIZER_STATE,
    Category.GRADIENT,
    KERNELS,
    Category.COMMUNICATION,
    Category.INPUT,
    Category.ACTIVATION,
    Category.TEMPORARY,
)
"""What is allocated for what, from what stays longest to what stays shortest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """After `entry` entries of the history: bytes reserved, and bytes allocated for each of `LAYERS`."""

    entry: int
    reserved_bytes: int
    layers: tuple[int, ...]

    @property
    def allocated_bytes(self) -> int:
        return sum(self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPeak:
    """Where a peak is first reached: at which point, in which step and phase, by which request."""

    point: MemoryPoint
    request: MemoryRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCurve:
    """Of one device. `points` are in order and include the peaks; the rest is of its history."""

    entries: int
    points: tuple[MemoryPoint, ...]
    allocated_peak: MemoryPeak
    reserved_peak: MemoryPeak
    step_ends: tuple[int, ...]
    simulated_steps: int
    phases: tuple[tuple[int, Phase], ...]


def memory_curve(history: MemoryHistory, *, columns: int) -> MemoryCurve | None:
    """Of each of so many equal parts of the history the points with the most and least allocated and the most reserved; None if empty."""
    entries = history.entries
    if not entries:
        return None
    allocated = list(accumulate(map(_allocated_change, entries)))
    reserved = list(accumulate(map(_reserved_change, entries)))
    chosen = sorted({0, len(entries) - 1, *_extremes(allocated, reserved, columns)})
    points = tuple(_points(entries, reserved, chosen))
    by_entry = {point.entry: point for point in points}
    allocated_at, reserved_at = allocated.index(max(allocated)), reserved.index(max(reserved))
    return MemoryCurve(
        entries=len(entries),
        points=points,
        allocated_peak=_peak(entries, by_entry, allocated_at),
        reserved_peak=_peak(entries, by_entry, reserved_at),
        step_ends=history.step_ends,
        simulated_steps=history.simulated_steps,
        phases=history.phases,
    )


def _peak(entries: Sequence[HistoryEntry], points: dict[int, MemoryPoint], at: int) -> MemoryPeak:
    request = entries[at].context
    assert isinstance(request, MemoryRequest)
    return MemoryPeak(point=points[at + 1], request=request)


def _allocated_change(entry: HistoryEntry) -> int:
    """As `allocated_bytes` of `torch.cuda.memory_stats` counts: a block that waits for other streams is not allocated any more."""
    if entry.action is Action.ALLOC:
        return entry.nbytes
    return -entry.nbytes if entry.action is Action.FREE_REQUESTED else 0


def _reserved_change(entry: HistoryEntry) -> int:
    if entry.action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
        return entry.nbytes
    return -entry.nbytes if entry.action in (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP) else 0


def _extremes(allocated: Sequence[int], reserved: Sequence[int], columns: int) -> Iterator[int]:
    """The positions of the extremes in each column, the first of equals."""
    count = len(allocated)
    for column in range(min(columns, count)):
        part = range(column * count // columns, (column + 1) * count // columns) if columns < count else range(column, column + 1)
        yield max(part, key=allocated.__getitem__)
        yield min(part, key=allocated.__getitem__)
        yield max(part, key=reserved.__getitem__)


def _points(entries: Iterable[HistoryEntry], reserved: Sequence[int], chosen: Sequence[int]) -> Iterator[MemoryPoint]:
    """The points after the entries at these positions."""
    number = {name: index for index, name in enumerate(LAYERS)}
    layers = [0] * len(LAYERS)
    wanted = iter((*chosen, -1))
    following = next(wanted)
    for position, entry in enumerate(entries):
        change = _allocated_change(entry)
        if change:
            layers[number[_layer(entry)]] += change
        if position == following:
            yield MemoryPoint(entry=position + 1, reserved_bytes=reserved[position], layers=tuple(layers))
            following = next(wanted)


def _layer(entry: HistoryEntry) -> str:
    request = entry.context
    return request.what.category if isinstance(request, MemoryRequest) and isinstance(request.what, MemoryBlock) else KERNELS
