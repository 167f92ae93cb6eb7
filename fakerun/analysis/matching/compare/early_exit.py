"""Ranks that end before others: because they fail, or because they complete fewer steps."""

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.call_site import CallSite

FAILED_HINT = "Fix what made the rank fail; the other ranks hang only because of it."
UNEVEN_HINT = "Give every rank the same number of batches: drop_last, a padding sampler, a fixed number of steps, or torch's Join."


def failure_of(world: SimulatedWorld, rank: int) -> str | None:
    """What the rank failed with, equal for ranks with the same failure; None if it did not fail."""
    failure = world.ranks[rank].record.failure
    return None if failure is None else f"{failure.kind} {failure.exception} {failure.call_site}"


def failure_site(world: SimulatedWorld, rank: int) -> CallSite | None:
    """The call site at which the rank failed."""
    failure = world.ranks[rank].record.failure
    return None if failure is None else failure.call_site


def uneven_steps(world: SimulatedWorld, majority: int, outlier: int, majority_step: int | None, outlier_step: int | None) -> str | None:
    """`{who} complete{s} 3 steps, the others 4`, if the two ranks diverge because one of them is in a step that the other does not make.

    The steps are those of the calls at which they diverge. None if steps do not explain it, or if one of the ranks failed.
    """
    if failure_of(world, majority) is not None or failure_of(world, outlier) is not None:
        return None
    if (outlier in world.blocked and majority_step is not None) or (majority in world.blocked and outlier_step is not None):
        return None  # the other one has not ended there: it is elsewhere in its program
    steps, others = _begun_steps(world, outlier, majority), _begun_steps(world, majority, outlier)
    fewer = steps < others and majority_step is not None and majority_step >= steps
    more = steps > others and outlier_step is not None and outlier_step >= others
    verb = "begin" if world.blocked & {majority, outlier} else "complete"
    return f"{{who}} {verb}{{s}} {steps} step{'s' * (steps != 1)}, the others {others}" if fewer or more else None


def _begun_steps(world: SimulatedWorld, rank: int, other: int) -> int:
    """The steps that the rank completed, and the one in which it is blocked.

    Not where it is blocked on a line from which the other rank calls nothing: that may be after the last step.
    """
    record = world.ranks[rank].record
    if record.blocked is None or record.blocked.call is None:
        return record.steps
    site = world.record(rank, record.blocked.call).call_site
    return record.steps + any(call.call_site == site for call in world.ranks[other].schedule.calls)
