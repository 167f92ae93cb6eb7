"""A trace of one step, as `torch.profiler` writes it (Kineto's form of the Trace Event format), with estimated times.

Readers: Perfetto's UI, HolisticTraceAnalysis, chrome://tracing. One rank is one file; a directory gets one for each class of ranks.

1. `header`: what comes before the events: rank, groups, card.
2. `tracks`: processes and threads; `clock`: microseconds.
3. `annotations`: the step, its phases, memory.
4. `rank_events`: operators, launches, kernels, communication calls; `names` and `collective_args` are what readers go by.
5. `event`: one event as text.
"""

from collections.abc import Iterator

from fakerun.report.formats.trace import event, header
from fakerun.report.formats.trace.annotations import annotations, memory
from fakerun.report.formats.trace.clock import clock_of
from fakerun.report.formats.trace.rank_events import RankEvents
from fakerun.report.formats.trace.tracks import tracks_of
from fakerun.report.model import NoEstimate, RankTimeline, Report, Timeline, TracedRank
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.header import axes_text


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Iterator[str]:
    """Of the class of ranks whose step takes longest."""
    timeline = report.needed_timeline
    if isinstance(timeline, NoEstimate):
        return _without_step(report, timeline.reason)
    return _trace(report, timeline.timeline, timeline.slowest)


def render_ranks(report: Report, /) -> Iterator[tuple[str, Iterator[str]]]:
    """Of each class of ranks under the name of a file: `trace_rank0.json.gz`."""
    timeline = report.needed_timeline
    if isinstance(timeline, NoEstimate):
        yield "trace.json.gz", _without_step(report, timeline.reason)
        return
    for rank in timeline.ranks:
        yield f"trace_rank{rank.timeline.representative}.json.gz", _trace(report, timeline.timeline, rank)


def _trace(report: Report, timeline: Timeline, rank: TracedRank) -> Iterator[str]:
    return _document(header.lines(report, timeline, rank.timeline), _events(report, timeline, rank))


def _without_step(report: Report, reason: str) -> Iterator[str]:
    """A trace that says why there are no times."""
    return _document(header.lines(report, None, None), iter([event.instant(f"no step time: {reason}", 0, 0)]))


def _document(head: Iterator[str], events: Iterator[str]) -> Iterator[str]:
    """In pieces: a stage of a large model has some 10^6 events."""
    yield "".join(("{\n", *(f"{line}\n" for line in head), '  "traceEvents": ['))
    separator = "\n"
    for each in events:
        yield f"{separator}  {each}"
        separator = ",\n"
    yield "\n  ]\n}\n"


def _events(report: Report, timeline: Timeline, rank: TracedRank) -> Iterator[str]:
    tracks, at = tracks_of(rank.timeline), clock_of(timeline)
    yield from tracks.named(_title(report, rank.timeline))
    yield from annotations(rank.timeline, tracks, at, timeline.step)
    yield from memory(rank, tracks, at)
    yield from RankEvents(rank, tracks, at).lines()


def _title(report: Report, rank: RankTimeline) -> str:
    """`rank 4 (pp=1,dp=0)`."""
    mesh = report.mesh
    coordinate = "" if mesh is None else f" ({axes_text(mesh.by_axis(mesh.coordinate(rank.representative)))})"
    return f"rank {rank.representative}{coordinate}"
