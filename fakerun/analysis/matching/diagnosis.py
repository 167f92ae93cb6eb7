"""How one stream of calls leaves another: what was left out, added, put in another order, or is another call in the same place."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

_AHEAD = 3
"""How many calls must agree again for the streams to go on alike."""

_FAR = 32
"""How many calls in a row may be missing or extra and still be told as such."""

Tokens = Sequence[Hashable]


class Parting(StrEnum):
    """What happened where two streams part."""

    MISSING = "missing"
    EXTRA = "extra"
    SWAPPED = "swapped"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What happened, at which position of both streams, and to how many calls."""

    parting: Parting
    position: int
    calls: int = 1


def parting_of(one: Tokens, other: Tokens) -> int | None:
    """The first position where the streams differ, or one of them is over."""
    if one == other:
        return None
    shorter = min(len(one), len(other))
    return next((position for position in range(shorter) if one[position] != other[position]), shorter)


def diagnosis_of(usual: Tokens, odd: Tokens, position: int) -> Diagnosis:
    """In which way `odd` leaves `usual` at the first position where they part."""
    if position >= len(odd):
        return Diagnosis(Parting.MISSING, position, len(usual) - position)
    if position >= len(usual):
        return Diagnosis(Parting.EXTRA, position, len(odd) - position)
    if len(usual) == len(odd) and _swapped(usual, odd, position):
        return Diagnosis(Parting.SWAPPED, position, 2)
    in_place = _agree(usual, odd, position + 1, position + 1)
    if in_place and len(usual) == len(odd):
        return Diagnosis(Parting.OTHER, position)
    for calls in range(1, 2 if in_place else _FAR + 1):
        if (found := _shifted(usual, odd, position, calls)) is not None:
            return found
    if _swapped(usual, odd, position) or Counter(usual[position:]) == Counter(odd[position:]):
        return Diagnosis(Parting.SWAPPED, position, 2)
    return Diagnosis(Parting.OTHER, position)


def _shifted(usual: Tokens, odd: Tokens, position: int, calls: int) -> Diagnosis | None:
    if _agree(usual, odd, position + calls, position):
        return Diagnosis(Parting.MISSING, position, calls)
    if _agree(usual, odd, position, position + calls):
        return Diagnosis(Parting.EXTRA, position, calls)
    return None


def _swapped(usual: Tokens, odd: Tokens, position: int) -> bool:
    """Whether two calls have changed places, and all is as it was after them."""
    there, here = usual[position : position + 2], odd[position : position + 2]
    after = slice(position + 2, position + 2 + _AHEAD)
    return len(there) == len(here) == 2 and there[0] == here[1] and there[1] == here[0] and usual[after] == odd[after]


def _agree(usual: Tokens, odd: Tokens, there: int, here: int) -> bool:
    """Whether the streams are alike from those positions on, and not by sharing nothing but an end."""
    ahead, behind = usual[there : there + _AHEAD], odd[here : here + _AHEAD]
    return bool(ahead) and ahead == behind
