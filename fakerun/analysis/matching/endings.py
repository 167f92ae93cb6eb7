"""Ranks that come to an end before others: because they fail, or because they make fewer steps."""

from fakerun.analysis.matching.cast import Cast
from fakerun.call_site import CallSite

FAILED_HINT = "Mend what ended the rank; the rest follows from it."
UNEVEN_HINT = "Give every rank as many batches: drop_last, a sampler that pads, a fixed number of steps, or torch's Join around the loop."


def failure_of(cast: Cast, rank: int) -> str | None:
    """What the rank failed with, the same for ranks that failed alike; None if it did not."""
    failure = cast.seats[rank].record.failure
    return None if failure is None else f"{failure.kind} {failure.exception} {failure.call_site}"


def failed_at(cast: Cast, rank: int) -> CallSite | None:
    """The line on which the rank failed."""
    failure = cast.seats[rank].record.failure
    return None if failure is None else failure.call_site


def uneven_steps(cast: Cast, usual: int, odd: int, usual_step: int | None, odd_step: int | None) -> str | None:
    """How many steps the ranks make, if they part because one of them is in a step that the other, which did not fail, does not make."""
    if failure_of(cast, usual) is not None or failure_of(cast, odd) is not None:
        return None
    made, others = cast.seats[odd].record.steps, cast.seats[usual].record.steps
    fewer = made < others and usual_step is not None and usual_step >= made
    more = made > others and odd_step is not None and odd_step >= others
    return f"{{who}} complete{{s}} {made} step{'s' * (made != 1)}, the others {others}" if fewer or more else None
