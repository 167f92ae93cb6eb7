"""The step and its phases on the tracks of a rank, as `torch.profiler` and `record_function` mark them, and its memory as counters."""

from collections.abc import Iterator
from itertools import groupby

from fakerun.records.collective import Phase
from fakerun.report.formats.trace import event
from fakerun.report.formats.trace.clock import Clock
from fakerun.report.formats.trace.tracks import Tracks
from fakerun.report.model import RankTimeline, TracedRank

_PHASES = tuple(Phase)


def annotations(rank: RankTimeline, tracks: Tracks, at: Clock, step: int) -> Iterator[str]:
    """On the host what it issues of the step and of each phase, on a stream from the first kernel of a phase to the last."""
    spans = rank.operations
    begin, end = at(rank.host_begin_s), max(at(rank.host_end_s), *(at(end) for end in rank.waits.ends), 0)
    yield event.complete("user_annotation", event.written(f"ProfilerStep#{step}"), tracks.process, tracks.host, begin, end)
    for phase, numbers in groupby(range(len(spans)), spans.phases.__getitem__):
        *_, last = numbers
        end = at(spans.issued[last])
        yield event.complete("user_annotation", _name(phase), tracks.process, tracks.host, begin, end)
        begin = end
    yield from _on_streams(rank, tracks, at)


def _on_streams(rank: RankTimeline, tracks: Tracks, at: Clock) -> Iterator[str]:
    spans = rank.operations
    by_stream = sorted(range(len(spans)), key=spans.streams.__getitem__)
    for (stream, phase), numbers in groupby(by_stream, lambda number: (spans.streams[number], spans.phases[number])):
        first, *others = numbers
        begin, end = at(spans.starts[first]), at(spans.ends[others[-1] if others else first])
        yield event.complete("gpu_user_annotation", _name(phase), tracks.process, tracks.streams[stream], begin, end)


def _name(phase: int) -> str:
    return event.written(_PHASES[phase].value)


def memory(rank: TracedRank, tracks: Tracks, at: Clock) -> Iterator[str]:
    """What is allocated and what is reserved on each device of the rank, at the times at which the host asks for it."""
    for device, over in rank.memory.items():
        for what, column in (("allocated", over.allocated), ("reserved", over.reserved)):
            name = f"{what} memory of GPU {rank.timeline.record.devices[device]}"
            for time, nbytes in zip(over.times, column, strict=True):
                yield event.counter(name, tracks.process, at(time), {"bytes": nbytes})
