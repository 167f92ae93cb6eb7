"""How the steps of ranks fill their hosts, streams and communicators, in columns of equal time: what a picture of them shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from fakerun.analysis.time.costs import OperationKind
from fakerun.analysis.time.timeline.played_classes import label_of
from fakerun.analysis.time.timeline.spans import RankTimeline, Timeline
from fakerun.records.collective import P2P_OPS, Phase

_PHASES = tuple(Phase)
Interval = tuple[float, float]


class Layer(StrEnum):
    """What a moment of a track is filled with."""

    ISSUING = "issuing"
    WAITING_FOR_DEVICE = "waiting for the device"
    MATRIX_PRODUCT = "matrix products"
    ATTENTION = "attention"
    OTHER_KERNELS = "other kernels"
    OPTIMIZER = "optimizer"
    HIDDEN = "communication beside kernels"
    EXPOSED = "exposed communication"
    WAITING_FOR_RANKS = "waiting for other ranks"
    """A call is there, not all of its members are, and no kernel runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One host, stream or communicator: for each of its layers which share of each column it fills, between 0 and 1."""

    name: str
    layers: Mapping[Layer, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOccupancy:
    """A step, in columns from `begin_s` to `end_s` of the timeline. `phases` are those of the kernels, from where to where."""

    begin_s: float
    end_s: float
    tracks: tuple[Track, ...]
    phases: tuple[tuple[float, float, Phase], ...]
    layer_s: Mapping[Layer, float]
    """Seconds of each layer in all tracks together."""

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


def shown_classes(timeline: Timeline, most: int) -> tuple[RankTimeline, ...]:
    """So many classes at most: the slowest first, then others by rank.

    Where there are more, those that take longest are shown; but first, of each stage of a pipeline, the one that takes longest.
    """
    slowest = timeline.slowest
    by_time = sorted(timeline.ranks, key=lambda rank: (rank is not slowest, -rank.seconds, rank.representative))
    of_stages = {_stage(rank): rank for rank in reversed(by_time)}.values()
    chosen = dict.fromkeys((slowest.representative, *(rank.representative for rank in (*of_stages, *by_time))))
    shown = list(chosen)[:most]
    others = [rank for rank in timeline.ranks if rank.representative in shown and rank is not slowest]
    return (slowest, *sorted(others, key=lambda rank: rank.representative))


def _stage(rank: RankTimeline) -> int:
    """The place of a rank among those that it sends to and receives from."""
    group = next((call.group_ranks for call in rank.record.collectives if call.op in P2P_OPS), ())
    return group.index(rank.record.rank) if rank.record.rank in group else 0


def step_occupancy(rank: RankTimeline, columns: int, window: Interval | None = None) -> StepOccupancy:
    """The host first, then the streams, then the communication by the label of its groups, in order of first use.

    The columns are those of the `window`, in seconds of the timeline, or of the rank's step.
    """
    step = (rank.begin_s, rank.end_s)
    window = window or step
    kernels = _union(zip(rank.operations.starts, rank.operations.ends, strict=True))
    found = {"host": _host(rank), **_streams(rank), **_communication(rank, kernels)}
    return StepOccupancy(
        begin_s=window[0],
        end_s=window[1],
        tracks=tuple(
            Track(name=name, layers={layer: _shares(intervals, window, columns) for layer, intervals in layers.items()})
            for name, layers in found.items()
        ),
        phases=tuple(_phases(rank)),
        layer_s={layer: sum(_seconds(layers.get(layer, ()), step) for layers in found.values()) for layer in Layer},
    )


Layers = dict[Layer, list[Interval]]


def _host(rank: RankTimeline) -> Layers:
    waits = _union(zip(rank.waits.starts, rank.waits.ends, strict=True))
    return {
        Layer.ISSUING: _difference([(rank.host_begin_s, rank.host_end_s)], waits),
        Layer.WAITING_FOR_DEVICE: waits,
    }


def _streams(rank: RankTimeline) -> dict[str, Layers]:
    spans = rank.operations
    found: dict[str, Layers] = {}
    for operation, stream, phase, start, end in zip(spans.operations, spans.streams, spans.phases, spans.starts, spans.ends, strict=True):
        layers = found.setdefault(_stream_name(rank, stream), {})
        layers.setdefault(_layer(rank, operation, _PHASES[phase]), []).append((start, end))
    return found


def _stream_name(rank: RankTimeline, stream: int) -> str:
    device = rank.program.streams[stream]
    of_device = f" of cuda:{rank.record.devices[device.device]}" if len(rank.record.devices) > 1 else ""
    return f"{'default stream' if device.index is None else f'stream {stream}'}{of_device}"


def _layer(rank: RankTimeline, operation: int, phase: Phase) -> Layer:
    if phase is Phase.OPTIMIZER:
        return Layer.OPTIMIZER
    cost = rank.costs[operation]
    match cost.kind if cost else None:
        case OperationKind.MATRIX_PRODUCT:
            return Layer.MATRIX_PRODUCT
        case OperationKind.ATTENTION:
            return Layer.ATTENTION
    return Layer.OTHER_KERNELS


def _communication(rank: RankTimeline, kernels: Sequence[Interval]) -> dict[str, Layers]:
    calls = rank.calls
    found: dict[str, dict[str, list[Interval]]] = {}
    for seq, arrived, start, end in zip(calls.seqs, calls.arrived, calls.starts, calls.ends, strict=True):
        times = found.setdefault(label_of(rank.record.collectives[seq].group), {"waits": [], "transfers": []})
        times["waits"].append((arrived, start))
        times["transfers"].append((start, end))
    return {f"NCCL {label}": _exposed(_union(times["transfers"]), _union(times["waits"]), kernels) for label, times in found.items()}


def _exposed(transfers: Sequence[Interval], waits: Sequence[Interval], kernels: Sequence[Interval]) -> Layers:
    exposed = _difference(transfers, kernels)
    return {
        Layer.EXPOSED: exposed,
        Layer.HIDDEN: _difference(transfers, exposed),
        Layer.WAITING_FOR_RANKS: _difference(waits, _union((*kernels, *transfers))),
    }


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals, ascending, those that overlap or touch joined."""
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def _difference(intervals: Iterable[Interval], others: Sequence[Interval]) -> list[Interval]:
    """What of the intervals is in none of the others; both ascending and without overlaps."""
    left = []
    position = 0
    for start, end in intervals:
        while position < len(others) and others[position][1] <= start:
            position += 1
        following = position
        while following < len(others) and others[following][0] < end:
            if start < others[following][0]:
                left.append((start, others[following][0]))
            start = max(start, others[following][1])
            following += 1
        if start < end:
            left.append((start, end))
    return left


def _seconds(intervals: Iterable[Interval], step: Interval) -> float:
    begin, end = step
    return sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in intervals)


def _shares(intervals: Iterable[Interval], window: Interval, columns: int) -> tuple[float, ...]:
    """Which share of each column the intervals fill, inside of the window."""
    begin, end = window
    width = (end - begin) / columns
    filled = [0.0] * columns
    for start, stop in intervals:
        start, stop = max(start - begin, 0.0), min(stop, end) - begin
        if stop <= start or not width:
            continue
        first, last = min(int(start / width), columns - 1), min(int(stop / width), columns - 1)
        for column in range(first, last + 1):
            filled[column] += min(stop, (column + 1) * width) - max(start, column * width)
    return tuple(min(each / width, 1.0) if width else 0.0 for each in filled)


def _phases(rank: RankTimeline) -> Iterator[tuple[float, float, Phase]]:
    """Of the kernels in the order in which they start, each until the next one."""
    spans = rank.operations
    order = sorted(range(len(spans)), key=spans.starts.__getitem__)
    runs = [(_PHASES[phase], spans.starts[next(iter(numbers))]) for phase, numbers in groupby(order, spans.phases.__getitem__)]
    ends = [*(start for _, start in runs[1:]), rank.end_s]
    for (phase, start), end in zip(runs, ends, strict=True):
        yield start, end, phase
