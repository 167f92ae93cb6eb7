"""The emulations that follow the rank, where a job's ranks are selected by what the program does with it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.order import Enter
from fakerun.emulate.rank_tracking.imports import followed_modules
from fakerun.emulate.rank_tracking.sources import followed_sources
from fakerun.emulate.rank_tracking.tracker import RankTracker, active
from fakerun.emulate.rank_tracking.uses import observed_uses
from fakerun.emulate.rank_tracking.variables import followed_variables
from fakerun.records.rank_function import RankOperation


@contextmanager
def followed_rank(context: EmulationContext) -> Iterator[None]:
    """Follow the rank through the program, until the context ends."""
    if not context.job.auto_ranks:
        yield
        return
    node, local = divmod(context.rank, context.job.nproc_per_node)
    values = {RankOperation.RANK: context.rank, RankOperation.LOCAL_RANK: local, RankOperation.NODE_RANK: node}
    tracker = RankTracker(context.rank_uses, values)
    active.tracker = tracker
    try:
        with ExitStack() as stack:
            stack.enter_context(followed_modules())
            stack.enter_context(followed_sources(context, tracker))
            stack.enter_context(followed_variables(tracker, context.job.env))
            stack.enter_context(observed_uses(context, tracker))
            yield
    finally:
        active.tracker = None


CONTEXTS: tuple[Enter, ...] = (followed_rank,)
