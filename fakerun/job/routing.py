"""Routing: what is assumed about choices by unknown values, such as the experts that a router picks for each token."""

from enum import StrEnum

from fakerun.job.choice import choice_named


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
    return choice_named(Routing, "routing", name)
