"""Which ranks of a grid do the same, as far as the simulated ones tell: on each axis the places that one place stands for.

Each axis is looked at by itself, on the first, a middle and the last pipeline stage: at its ends, and, where two neighbours among the
places looked at differ, between them. So it is known from which place on ranks do something else: the last shards of a tensor are smaller,
or empty.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from math import prod

from fakerun.analysis.classes import Trace
from fakerun.analysis.representatives.sample_points import Landmarks
from fakerun.units import format_ranks

MOST = 64
"""Places that are looked at on an axis, and combinations of places that matter, at most."""

ByRank = Mapping[int, Trace]
_Seen = dict[int, Trace | None]


class Alike:
    """What is known when the ranks in `traces` have been simulated."""

    def __init__(self, landmarks: Landmarks, traces: ByRank) -> None:
        self._marks = landmarks
        self._traces = traces
        self._sizes = landmarks.mesh.sizes
        self._standing = [
            [self._standing_on(lookout, axis) for axis in range(len(self._sizes))] for lookout in range(len(landmarks.lookouts))
        ]
        """By lookout, axis and place, the place that stands for it."""

    def like(self, rank: int) -> int:
        """The rank that stands for this one."""
        standing = self._standing[self._marks.lookout(rank)]
        place = self._marks.mesh.coordinate(rank)
        return self._marks.mesh.rank_at([places[here] for places, here in zip(standing, place, strict=True)])

    def odd(self) -> list[int]:
        """Simulated ranks that do not do what the ones do that would have stood for them."""
        traces = self._traces
        return [rank for rank in sorted(traces) if traces.get(self.like(rank), traces[rank]) != traces[rank]]

    def to_look_at(self) -> set[int]:
        """The ranks to simulate to know the axes, as far as is known by now."""
        lookouts = range(len(self._marks.lookouts))
        return {
            self._marks.at(lookout, axis, place)
            for lookout, axis in product(lookouts, self._marks.others)
            for place in self._looked_at(lookout, axis)
        }

    def combinations(self) -> set[int]:
        """A rank for each combination of places that matter, on each stage; none where these are too many."""
        found: set[int] = set()
        for on_line in self._marks.line:
            standing, stage = self._standing[self._marks.lookout(on_line)], self._marks.mesh.coordinate(on_line)
            choices = [sorted(set(standing[axis])) if axis in self._marks.others else [stage[axis]] for axis in range(len(self._sizes))]
            if prod(map(len, choices)) > MOST:
                return set()
            found |= {self._marks.mesh.rank_at(place) for place in product(*choices)}
        return found

    def in_words(self) -> str:
        """`along tp, and within the parts 0-7 / 8-31 of dp`."""
        whole, parts = [], []
        for axis in self._marks.others:
            each = sorted({tuple(_parts(standing[axis])) for standing in self._standing}, key=len)
            if len(each[-1]) == 1:
                whole.append(self._marks.mesh.axes[axis])
            else:
                parts.append(f"within the parts {' / '.join(each[-1])} of {self._marks.mesh.axes[axis]}")
        return ", and ".join([f"along {' and '.join(whole)}"] * bool(whole) + parts)

    def _looked_at(self, lookout: int, axis: int) -> _Seen:
        """The places of the axis to look at, and what ranks do there, as far as that is known.

        Ranks that were simulated for other reasons do not count: what lies between them was not looked into.
        """
        last = self._sizes[axis] - 1
        seen: _Seen = {}
        wanted = {0, self._marks.base[axis], last}
        while wanted and len(seen) < MOST:
            seen |= {place: self._traces.get(self._marks.at(lookout, axis, place)) for place in wanted}
            if None in seen.values():
                break
            differ = [(one, other) for one, other in pairwise(sorted(seen)) if seen[one] != seen[other]]
            # The last place alone is the usual one to differ: its neighbour is looked at before the middle.
            wanted = {other - 1 if other == last else (one + other) // 2 for one, other in differ} - seen.keys()
        return seen

    def _standing_on(self, lookout: int, axis: int) -> list[int]:
        """For each place on the axis the one that stands for it: the first that does the same, the base's own before others."""
        size, base = self._sizes[axis], self._marks.base[axis]
        if axis in self._marks.stages:
            return list(range(size))
        seen = self._looked_at(lookout, axis)
        if None in seen.values():
            return [base] * size  # there was no reason to look
        if len(seen) >= MOST:
            return list(range(size))
        return list(_filled(seen, base, size))


def _filled(seen: _Seen, base: int, size: int) -> Iterator[int]:
    first = {seen[base]: base}
    for place in sorted(seen):
        first.setdefault(seen[place], place)
    stands = base
    for place in range(size):
        stands = first[seen[place]] if place in seen else stands
        yield stands


def _parts(standing: list[int]) -> Iterator[str]:
    """The places that one place stands for, for each."""
    for one in sorted(set(standing)):
        yield format_ranks(place for place, stands in enumerate(standing) if stands == one)
