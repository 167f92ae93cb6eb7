"""Alignment of two sequences of calls that diverge: which call was skipped, added, moved, or is a different one at the same position."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

_MIN_AGREEMENT = 3
"""After several missing or extra calls, or after two swapped ones, the sequences must agree for this many calls."""

_MAX_EDIT = 32
"""Consecutive calls that may be missing or extra, and calls that are compared after them: this bounds the cost."""

Calls = Sequence[Hashable]


class Edit(StrEnum):
    """How one sequence differs from the other where they diverge."""

    MISSING = "missing"
    EXTRA = "extra"
    SWAPPED = "swapped"
    REORDERED = "reordered"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Alignment:
    """The edit, its position in both sequences, and how many calls it concerns."""

    edit: Edit
    position: int
    calls: int = 1


def first_divergence(one: Calls, other: Calls) -> int | None:
    """The first position at which the sequences differ or one of them has ended; None if they are equal."""
    if one == other:
        return None
    shorter = min(len(one), len(other))
    return next((position for position in range(shorter) if one[position] != other[position]), shorter)


def first_divergence_of_all(whole: Collection[Calls], cut: Collection[Calls]) -> int | None:
    """The first position at which not all of the sequences have the same call; None if there is none.

    Those that are `cut` would go on where they end, with what the others have there.
    """
    reference, *others = whole or [max(cut, key=len)]
    divergences = [position for other in others if (position := first_divergence(reference, other)) is not None]
    divergences += [position for other in cut if (position := first_divergence(reference, other)) is not None and position < len(other)]
    return min(divergences, default=None)


def align(majority: Calls, outlier: Calls, position: int, *, is_cut: bool = False) -> Alignment:
    """The edit that explains how `outlier` diverges from `majority` at `position`: the one after which they agree for longest.

    If it `is_cut`, one of them would go on where it ends: agreement up to there is all that there can be.
    """
    if position >= len(outlier):
        return Alignment(Edit.MISSING, position, len(majority) - position)
    if position >= len(majority):
        return Alignment(Edit.EXTRA, position, len(outlier) - position)
    if len(majority) == len(outlier) and _is_swap(majority, outlier, position):
        return Alignment(Edit.SWAPPED, position, 2)
    agreement, found = max(_candidates(majority, outlier, position, is_cut=is_cut), key=lambda candidate: candidate[0])
    if agreement:
        return found
    if _is_swap(majority, outlier, position):
        return Alignment(Edit.SWAPPED, position, 2)
    if Counter(majority[position:]) == Counter(outlier[position:]):
        return Alignment(Edit.REORDERED, position, len(majority) - position)
    return Alignment(Edit.DIFFERENT, position)


def _candidates(majority: Calls, outlier: Calls, position: int, *, is_cut: bool) -> Iterator[tuple[int, Alignment]]:
    """Possible edits, each with the number of calls for which the sequences agree after it; the more likely of equals first."""
    different = _agreement(majority, outlier, position + 1, position + 1), Alignment(Edit.DIFFERENT, position)
    if len(majority) == len(outlier):
        yield different
    for calls in range(1, _MAX_EDIT + 1):
        missing = Alignment(Edit.MISSING, position, calls), position + calls, position
        extra = Alignment(Edit.EXTRA, position, calls), position, position + calls
        for found, there, here in (missing, extra) if len(majority) >= len(outlier) else (extra, missing):
            agreement = _agreement(majority, outlier, there, here)
            needed = min(_MIN_AGREEMENT, len(majority) - there, len(outlier) - here) if is_cut else _MIN_AGREEMENT
            if calls == 1 or agreement >= max(needed, 1):
                yield agreement, found
    yield different


def _agreement(majority: Calls, outlier: Calls, majority_start: int, outlier_start: int) -> int:
    """For how many calls the sequences agree from those positions on, up to `_MAX_EDIT`."""
    pairs = zip(majority[majority_start : majority_start + _MAX_EDIT], outlier[outlier_start : outlier_start + _MAX_EDIT], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_swap(majority: Calls, outlier: Calls, position: int) -> bool:
    """Whether two calls are swapped and the sequences agree after them, or have the same calls in any order."""
    there, here = majority[position : position + 2], outlier[position : position + 2]
    if not (len(there) == len(here) == 2 and there[0] == here[1] and there[1] == here[0]):
        return False
    after = slice(position + 2, position + 2 + _MIN_AGREEMENT)
    return majority[after] == outlier[after] or Counter(majority[position:]) == Counter(outlier[position:])
