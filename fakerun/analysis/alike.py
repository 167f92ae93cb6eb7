"""Which ranks of a grid do the same, as far as the simulated ones tell: on each axis the places that one place stands for.

Each axis is looked at by itself: at its ends and its middle, and, where two neighbours among the places looked at differ, between them. So
it is known from which place on ranks do something else: the last shards of a tensor are smaller, or empty.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from math import prod

from fakerun.analysis.classes import Trace
from fakerun.analysis.landmarks import Landmarks
from fakerun.units import format_ranks

MOST = 64
"""Places that are looked at on an axis, and combinations of places that matter, at most."""

ByRank = Mapping[int, Trace]
_Seen = dict[int, tuple[Trace | None, ...]]


class Alike:
    """What is known when the ranks in `traces` have been simulated."""

    def __init__(self, landmarks: Landmarks, traces: ByRank) -> None:
        self._marks = landmarks
        self._traces = traces
        self._standing = [self._standing_on(axis) for axis in range(len(landmarks.grid.sizes))]

    def like(self, rank: int) -> int:
        """The rank that stands for this one."""
        place = self._marks.grid.place(rank)
        return self._marks.grid.rank([standing[here] for standing, here in zip(self._standing, place, strict=True)])

    def odd(self) -> list[int]:
        """Simulated ranks that do not do what the ones do that would have stood for them."""
        traces = self._traces
        return [rank for rank in sorted(traces) if traces.get(self.like(rank), traces[rank]) != traces[rank]]

    def to_look_at(self) -> set[int]:
        """The ranks to simulate to know the axes, as far as is known by now."""
        return {rank for axis in self._marks.others for place in self._looked_at(axis) for rank in self._marks.at(axis, place)}

    def combinations(self) -> set[int]:
        """A rank for each combination of places that matter; none where these are too many."""
        choices = [sorted(set(standing)) for standing in self._standing]
        if prod(map(len, choices)) > max(MOST, len(self._marks.line)):
            return set()
        return {self._marks.grid.rank(place) for place in product(*choices)}

    def in_words(self) -> str:
        """`along tp, and within the parts 0-7 / 8-31 of dp`."""
        whole, parts = [], []
        for axis in self._marks.others:
            name, standing = self._marks.grid.names[axis], self._standing[axis]
            each = [format_ranks(place for place, stands in enumerate(standing) if stands == one) for one in sorted(set(standing))]
            if len(each) == 1:
                whole.append(name)
            else:
                parts.append(f"within the parts {' / '.join(each)} of {name}")
        return ", and ".join([f"along {' and '.join(whole)}"] * bool(whole) + parts)

    def _looked_at(self, axis: int) -> _Seen:
        """The places of the axis to look at, and what ranks do there, as far as that is known.

        Ranks that were simulated for other reasons do not count: what lies between them was not looked into.
        """
        seen: _Seen = {}
        wanted = self._marks.ends(axis)
        while wanted and len(seen) < MOST:
            for place in wanted:
                seen[place] = tuple(self._traces.get(rank) for rank in self._marks.at(axis, place))
            if not _complete(seen):
                break
            wanted = {(one + other) // 2 for one, other in pairwise(sorted(seen)) if seen[one] != seen[other]} - seen.keys()
        return seen

    def _standing_on(self, axis: int) -> list[int]:
        """For each place on the axis the one that stands for it: the first that does the same, the base's own before others."""
        size, base = self._marks.grid.sizes[axis], self._marks.base[axis]
        if axis in self._marks.stages:
            return list(range(size))
        seen = self._looked_at(axis)
        if not _complete(seen):
            return [base] * size  # there was no reason to look
        if len(seen) >= MOST:
            return list(range(size))
        return list(_filled(seen, base, size))


def _complete(seen: _Seen) -> bool:
    return all(None not in each for each in seen.values())


def _filled(seen: _Seen, base: int, size: int) -> Iterator[int]:
    first = {seen[base]: base}
    for place in sorted(seen):
        first.setdefault(seen[place], place)
    stands = base
    for place in range(size):
        stands = first[seen[place]] if place in seen else stands
        yield stands
