"""The clock of a trace: whole microseconds since the first of all ranks issued something of its step, or ran it."""

from collections.abc import Callable
from typing import TypeAlias

from fakerun.report.model import RankTimeline, Timeline

Clock: TypeAlias = Callable[[float], int]
"""From seconds of the timeline to microseconds of the trace."""


def clock_of(timeline: Timeline) -> Clock:
    """One clock for all ranks, without negative times: a host is ahead of its device, and may begin before 0 of the timeline.

    A host that first waits for the step before begins when that wait ends; the wait is at 0, without a duration.
    """
    origin = min(min(rank.begin_s, _issues_from(rank)) for rank in timeline.ranks)
    return lambda seconds: max(0, round((seconds - origin) * 1e6))


def _issues_from(rank: RankTimeline) -> float:
    waits = rank.waits
    leading = [
        end
        for end, operations, calls in zip(waits.ends, waits.operations_before, waits.calls_before, strict=True)
        if not operations and not calls
    ]
    return max(leading, default=rank.host_begin_s)
