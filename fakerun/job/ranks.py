"""Which ranks of a job to simulate: the syntax, and the ranks that it selects in a world of a given size."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.job.world import check_rank
from fakerun.units import is_count, why_no_count

_RANGE = re.compile(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?")

_SYNTAX = "write all, auto, or numbers and ranges as in 0,4-7"


@dataclass(frozen=True, slots=True)
class RankChoice:
    """Ranks as ranges, first and last included; None is all ranks. `auto`: fakerun selects them."""

    ranges: tuple[tuple[int, int], ...] | None
    auto: bool = False

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "RankChoice":
        return cls(tuple((number, number) for number in numbers))

    def __str__(self) -> str:
        """As the user writes them."""
        if self.auto or self.ranges is None:
            return "auto" if self.auto else "all"
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    def resolve(self, world_size: int) -> tuple[int, ...]:
        """The ranks, each once and ascending; empty if fakerun selects them.

        Raises:
            UsageError: the world does not have one of the ranks.
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
        UsageError: the message has the text, the reason and the syntax of ranks.
    """
    if text.strip() == "all":
        return ALL_RANKS
    if text.strip() == "auto":
        return AUTO_RANKS
    return RankChoice(tuple(_range(part, text) for part in text.split(",")))


def _range(part: str, text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(part)
    if found is None:
        raise UsageError(f"ranks {text!r}: {part.strip()!r} is neither a number nor a range; {_SYNTAX}")
    for number in filter(None, found.groups()):
        if not is_count(number):
            raise UsageError(f"ranks {text!r}: {number} {why_no_count(number, 'is not a number')}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UsageError(f"ranks {text!r}: the range {part.strip()} is empty; {_SYNTAX}")
    return first, last
