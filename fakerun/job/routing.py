"""Routing: what is assumed about choices by unknown values, such as the experts that a router picks for each token."""

from enum import StrEnum

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean


class Routing(StrEnum):
    """The scenarios. All ranks assume the same one, so that a rank sends what its peer receives."""

    BALANCED = "balanced"
    """The tokens' choices are spread over all experts as evenly as their number allows."""

    WORST = "worst"
    """Every token chooses the same, first experts: the rank with expert 0 receives the maximum."""


DEFAULT_ROUTING = Routing.BALANCED


def routing_named(name: str) -> Routing:
    """The scenario with this name.

    Raises:
        UsageError: the name is unknown.
    """
    known = [routing.value for routing in Routing]
    if name not in known:
        raise UsageError(f"unknown routing {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return Routing(name)
