"""Which ranks do the same, as far as the simulated ranks show: for each axis, which index represents which others.

Each axis is sampled by itself, on the first, a middle and the last pipeline stage: at its ends and, where two neighbouring samples differ,
between them (bisection). This finds the index from which ranks do something else: the last shards of a tensor are smaller, or empty.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from math import prod

from fakerun.analysis.classes import Fingerprint
from fakerun.analysis.representatives.sample_points import SamplePoints
from fakerun.units import format_ranks, join_words

MAX_SAMPLES = 64
"""Samples on an axis, and combinations of the indices that represent others, at most."""

FingerprintByRank = Mapping[int, Fingerprint]
"""The fingerprints of the simulated ranks, by rank."""


class Equivalence:
    """What is known when the ranks in `fingerprints` have been simulated."""

    def __init__(self, points: SamplePoints, fingerprints: FingerprintByRank) -> None:
        self._points = points
        self._mesh = points.mesh
        self._fingerprints = fingerprints
        self._represented_by = [
            [self._representatives_on(probe, axis) for axis in range(len(self._mesh.sizes))] for probe in range(len(points.probes))
        ]
        """By probe, axis and index the index that represents it."""

    def representative(self, rank: int) -> int:
        """The rank that represents this one."""
        represented_by = self._represented_by[self._points.probe(rank)]
        coordinate = self._mesh.coordinate(rank)
        return self._mesh.rank_at([on_axis[index] for on_axis, index in zip(represented_by, coordinate, strict=True)])

    def outliers(self) -> list[int]:
        """Simulated ranks that do something else than the simulated rank that would represent them."""
        known = self._fingerprints
        return [rank for rank in sorted(known) if known.get(self.representative(rank), known[rank]) != known[rank]]

    def samples(self) -> set[int]:
        """The ranks to simulate to know the axes, as far as is known by now."""
        return {
            self._points.rank_beside_probe(probe, axis, index)
            for probe, axis in product(range(len(self._points.probes)), self._points.other_axes)
            for index in self._sampled(probe, axis)
        }

    def combinations(self) -> set[int]:
        """A rank for each combination of indices that represent others, on each stage; none if these are too many."""
        found: set[int] = set()
        for stage_rank in self._points.stage_ranks:
            represented_by, stage = self._represented_by[self._points.probe(stage_rank)], self._mesh.coordinate(stage_rank)
            choices = [
                sorted(set(on_axis)) if axis in self._points.other_axes else [stage[axis]] for axis, on_axis in enumerate(represented_by)
            ]
            if prod(map(len, choices)) > MAX_SAMPLES:
                return set()
            found |= {self._mesh.rank_at(coordinate) for coordinate in product(*choices)}
        return found

    def description(self) -> str:
        """What a rank has in common with its representative: `stage and part of dp (0-7 / 8-31)`; empty if nothing need be."""
        common = ["stage"] if self._points.stage_axes else []
        for axis in self._points.other_axes:
            parts = max((list(_parts(on_axes[axis])) for on_axes in self._represented_by), key=len)
            if len(parts) > 1:
                common.append(f"part of {self._mesh.axes[axis]} ({' / '.join(parts)})")
        return join_words(common)

    def _sampled(self, probe: int, axis: int) -> dict[int, Fingerprint | None]:
        """The indices of the axis to sample, with the fingerprints of the ranks there, None for one that was not simulated.

        Ranks that were simulated for other reasons do not count: nothing was sampled between them.
        """
        last = self._mesh.sizes[axis] - 1
        sampled: dict[int, Fingerprint | None] = {}
        wanted = {0, self._points.base[axis], last}
        while wanted and len(sampled) < MAX_SAMPLES:
            sampled |= {index: self._fingerprints.get(self._points.rank_beside_probe(probe, axis, index)) for index in wanted}
            if None in sampled.values():
                break
            different = [(one, other) for one, other in pairwise(sorted(sampled)) if sampled[one] != sampled[other]]
            # Often only the last index differs: its neighbour is sampled before the middle.
            wanted = {other - 1 if other == last else (one + other) // 2 for one, other in different} - sampled.keys()
        return sampled

    def _representatives_on(self, probe: int, axis: int) -> list[int]:
        """By index on the axis the index that represents it: the first one with its fingerprint, the base before others."""
        size, base = self._mesh.sizes[axis], self._points.base[axis]
        if axis in self._points.stage_axes:
            return list(range(size))
        sampled = self._sampled(probe, axis)
        if None in sampled.values():
            return [base] * size  # there was no reason to sample
        if len(sampled) >= MAX_SAMPLES:
            return list(range(size))
        return list(_between_samples(sampled, base, size))


def _between_samples(sampled: Mapping[int, Fingerprint | None], base: int, size: int) -> Iterator[int]:
    """An index between two samples is represented by what represents the lower one."""
    first = {sampled[base]: base}
    for index in sorted(sampled):
        first.setdefault(sampled[index], index)
    representative = base
    for index in range(size):
        representative = first[sampled[index]] if index in sampled else representative
        yield representative


def _parts(represented_by: list[int]) -> Iterator[str]:
    """For each index that represents others, all indices that it represents."""
    for representative in sorted(set(represented_by)):
        yield format_ranks(index for index, own in enumerate(represented_by) if own == representative)
