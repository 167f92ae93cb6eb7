"""The clock of a trace: whole microseconds since the first of all ranks began to issue or to run its step."""

from collections.abc import Callable
from typing import TypeAlias

from fakerun.report.model import Timeline

Clock: TypeAlias = Callable[[float], int]
"""From seconds of the timeline to microseconds of the trace."""


def clock_of(timeline: Timeline) -> Clock:
    """One clock for all ranks, without negative times: a host is ahead of its device, and may begin before 0 of the timeline."""
    origin = min(min(rank.begin_s, rank.host_begin_s) for rank in timeline.ranks)
    return lambda seconds: round((seconds - origin) * 1e6)
