"""The emulations that follow the rank, where a job's ranks are selected by what the program does with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.order import Enter
from fakerun.emulate.rank_tracking.imports import followed_modules
from fakerun.emulate.rank_tracking.sources import followed_sources
from fakerun.emulate.rank_tracking.tracker import RankTracker, active


@contextmanager
def followed_rank(context: EmulationContext) -> Iterator[None]:
    """Follow the rank through the program, until the context ends."""
    if not context.job.auto_ranks:
        yield
        return
    tracker = RankTracker(context.rank_uses)
    active.tracker = tracker
    try:
        with followed_modules(), followed_sources(context, tracker):
            yield
    finally:
        active.tracker = None


CONTEXTS: tuple[Enter, ...] = (followed_rank,)
