"""How one stream of calls leaves another: what was left out, added, put in another order, or is another call in the same place."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

_AHEAD = 3
"""For how many calls streams must go on alike where several are missing or extra, or two have changed places."""

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
    """In which way `odd` leaves `usual` at the first position where they part: whatever lets them go on alike for longest."""
    if position >= len(odd):
        return Diagnosis(Parting.MISSING, position, len(usual) - position)
    if position >= len(usual):
        return Diagnosis(Parting.EXTRA, position, len(odd) - position)
    if len(usual) == len(odd) and _swapped(usual, odd, position):
        return Diagnosis(Parting.SWAPPED, position, 2)
    length, found = max(_explanations(usual, odd, position), key=lambda each: each[0])
    if length:
        return found
    swapped = _swapped(usual, odd, position) or Counter(usual[position:]) == Counter(odd[position:])
    return Diagnosis(Parting.SWAPPED, position, 2) if swapped else Diagnosis(Parting.OTHER, position)


def _explanations(usual: Tokens, odd: Tokens, position: int) -> Iterator[tuple[int, Diagnosis]]:
    """What may have happened, and for how many calls the streams then go on alike; of equals, the likelier first."""
    other = _together(usual, odd, position + 1, position + 1), Diagnosis(Parting.OTHER, position)
    if len(usual) == len(odd):
        yield other
    for calls in range(1, _FAR + 1):
        missing = _together(usual, odd, position + calls, position), Diagnosis(Parting.MISSING, position, calls)
        extra = _together(usual, odd, position, position + calls), Diagnosis(Parting.EXTRA, position, calls)
        for length, found in (missing, extra) if len(usual) >= len(odd) else (extra, missing):
            if calls == 1 or length >= _AHEAD:
                yield length, found
    yield other


def _together(usual: Tokens, odd: Tokens, there: int, here: int) -> int:
    """For how many calls the streams are alike from those positions on; more than `_FAR` are as good as that."""
    pairs = zip(usual[there : there + _FAR], odd[here : here + _FAR], strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(_FAR, len(usual) - there, len(odd) - here))


def _swapped(usual: Tokens, odd: Tokens, position: int) -> bool:
    """Whether two calls have changed places, and all is as it was after them, or all calls are the same but for their order."""
    there, here = usual[position : position + 2], odd[position : position + 2]
    if not (len(there) == len(here) == 2 and there[0] == here[1] and there[1] == here[0]):
        return False
    after = slice(position + 2, position + 2 + _AHEAD)
    return usual[after] == odd[after] or Counter(usual[position:]) == Counter(odd[position:])
