"""Which ranks of a job to simulate: how they are written, and the numbers that this means in a world of a given size."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.job.world import check_rank
from fakerun.units import is_count

_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")

HOW = "write all, auto, or numbers and ranges as in 0,4-7"


@dataclass(frozen=True, slots=True)
class RankChoice:
    """Ranks by range, first and last included; None means all there are. `auto`: fakerun is to choose."""

    ranges: tuple[tuple[int, int], ...] | None
    auto: bool = False

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "RankChoice":
        return cls(tuple((number, number) for number in numbers))

    def resolve(self, world_size: int) -> tuple[int, ...]:
        """The numbers, each once and in order; none if fakerun is to choose.

        Raises:
            UsageError: a rank that the world does not have.
        """
        if self.ranges is None:
            return tuple(range(world_size))
        for first, last in self.ranges:
            check_rank(first, world_size)
            check_rank(last, world_size)
        return tuple(sorted({rank for first, last in self.ranges for rank in range(first, last + 1)}))


ALL_RANKS = RankChoice(None)
AUTO_RANKS = RankChoice((), auto=True)


def parse_ranks(text: str) -> RankChoice:
    """Ranks as the user writes them: `all`, `auto`, `3`, `0,4-7`.

    Raises:
        UsageError: names the text, what is wrong and how ranks are written.
    """
    if text.strip() == "all":
        return ALL_RANKS
    if text.strip() == "auto":
        return AUTO_RANKS
    return RankChoice(tuple(_range(part, text) for part in text.split(",")))


def _range(part: str, text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(part)
    if found is None or not is_count(found[1]):
        raise UsageError(f"ranks {text!r}: {part.strip()!r} is neither a number nor a range; {HOW}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UsageError(f"ranks {text!r}: the range {part.strip()} is empty; {HOW}")
    return first, last
