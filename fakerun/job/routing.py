"""Routing: what is assumed of choices that nobody can know, such as the experts that a router picks for each token."""

from enum import StrEnum

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean


class Routing(StrEnum):
    """The scenarios. Every rank assumes the same one, so that what a rank sends is what its peer receives."""

    BALANCED = "balanced"
    """The tokens' choices are spread over all experts as evenly as their number allows."""

    WORST = "worst"
    """Every token chooses the same, first experts: the rank that has expert 0 gets as much as it ever can."""


DEFAULT_ROUTING = Routing.BALANCED


def routing_named(name: str) -> Routing:
    """The scenario of that name.

    Raises:
        UsageError: no such name.
    """
    known = [routing.value for routing in Routing]
    if name not in known:
        raise UsageError(f"unknown routing {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return Routing(name)
