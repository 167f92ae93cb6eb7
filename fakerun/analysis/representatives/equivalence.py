"""Which ranks do the same, as far as the tests of the rank and the samples show: the cells of the world.

Ranks of one cell have the same outcomes of all known tests, are on the same pipeline stage, and on each axis between the same samples:
what depends on the rank and is not tested, such as a shape that torch computes in C++, is looked for by sampling. Each axis is sampled by
itself, on the first, a middle and the last pipeline stage: for each class of the tests at its ends and, where two neighbouring samples of
the class differ, between them (bisection). This finds the index from which ranks do something else: the last shards of a tensor are
smaller, or empty.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product

from fakerun.analysis.classes import Fingerprint
from fakerun.analysis.representatives.outcomes import refined
from fakerun.analysis.representatives.sample_points import SamplePoints
from fakerun.units import format_ranks

MAX_SAMPLES = 64
"""Samples on an axis, at most."""

FingerprintByRank = Mapping[int, Fingerprint]
"""The fingerprints of the simulated ranks, by rank."""


class Equivalence:
    """What is known when the ranks in `fingerprints` have been simulated; `classes` has the class of each rank by the tests."""

    def __init__(self, points: SamplePoints, fingerprints: FingerprintByRank, classes: Sequence[int]) -> None:
        self._points = points
        self._mesh = points.mesh
        self._fingerprints = fingerprints
        self._classes = classes
        self._lines = {
            (probe, axis): _Line(self._line(probe, axis), points.base[axis], fingerprints, classes)
            for probe, axis in product(range(len(points.probes)), points.other_axes)
        }
        self.cells: Sequence[int] = self._cells()
        """By rank the number of its cell."""
        self.representatives: Mapping[int, int] = self._representatives()
        """By cell the simulated rank that represents the other ranks of the cell."""

    def representative(self, rank: int) -> int | None:
        """The rank that represents this one; None if no rank of its cell has been simulated."""
        return self.representatives.get(self.cells[rank])

    def outliers(self) -> list[int]:
        """Simulated ranks that do something else than the simulated rank that would represent them."""
        known = self._fingerprints
        return [rank for rank in sorted(known) if known[self.representatives[self.cells[rank]]] != known[rank]]

    @property
    def has_parts(self) -> bool:
        """Whether samples differ that the tests do not tell apart."""
        return any(len(set(line.parts)) > 1 for line in self._lines.values())

    def samples(self) -> set[int]:
        """The ranks to simulate to know the axes, as far as is known by now."""
        return {rank for line in self._lines.values() for rank in line.sampled}

    @property
    def is_unresolved(self) -> bool:
        """Whether so many samples along an axis differ that nothing is assumed of the ranks between them."""
        return any(line.is_unresolved for line in self._lines.values())

    def unrepresented(self) -> list[int]:
        """A rank of each class of which none has been simulated, then of each cell, those of the largest first."""
        missing = _unrepresented(self._classes, self._fingerprints)
        return missing or ([] if self.is_unresolved else _unrepresented(self.cells, self._fingerprints))

    def description(self) -> list[str]:
        """What a rank has in common with its representative: `class`, `stage`, `part of dp (0-7 / 8-31)`."""
        common = ["class"] if len(set(self._classes)) > 1 else []
        common += ["stage"] if self._points.stage_axes else []
        for axis in self._points.other_axes:
            parts = max((self._lines[probe, axis].parts for probe in range(len(self._points.probes))), key=lambda parts: len(set(parts)))
            if len(set(parts)) > 1 and not self.is_unresolved:
                common.append(f"part of {self._mesh.axes[axis]} ({' / '.join(_indices_of_parts(parts))})")
        return common

    def _line(self, probe: int, axis: int) -> range:
        return self._mesh.line(axis, self._points.probes[probe])

    def _cells(self) -> Sequence[int]:
        cells = self._classes
        for axis in sorted(self._points.stage_axes):
            cells = refined(cells, self._mesh.indices_on(axis))
        for axis in self._points.other_axes:
            parts = [self._lines[probe, axis].parts for probe in range(len(self._points.probes))]
            if any(len(set(each)) > 1 for each in parts):
                indices = self._mesh.indices_on(axis)
                cells = refined(cells, [parts[probe][index] for probe, index in zip(self._points.probe_of_ranks, indices, strict=True)])
        return cells

    def _representatives(self) -> Mapping[int, int]:
        """Of the simulated ranks of a cell the one on the line through the mesh along which stages are simulated, else the first."""
        found: dict[int, int] = {}
        for rank in sorted(self._fingerprints, key=lambda rank: (rank not in self._points.stage_ranks, rank)):
            found.setdefault(self.cells[rank], rank)
        return found


def _unrepresented(numbers: Sequence[int], simulated: Iterable[int]) -> list[int]:
    """The first rank of each number that no simulated rank has, those of the most frequent numbers first."""
    sizes = Counter(numbers)
    for rank in simulated:
        sizes.pop(numbers[rank], None)
    if not sizes:
        return []
    first: dict[int, int] = {}
    for rank, number in enumerate(numbers):
        if number in sizes:
            first.setdefault(number, rank)
    return sorted(first.values(), key=lambda rank: (-sizes[numbers[rank]], rank))


class _Line:
    """The ranks along one axis of the mesh, and the parts of it that differ, as far as they have been sampled.

    `sampled` are the ranks to sample, as far as is known by now. `parts` has a number for each index: equal ones do the same, if they are
    of one class; `is_unresolved` if the samples of a class all differ. Ranks that were simulated for other reasons do not count: nothing
    was sampled between them.
    """

    def __init__(self, ranks: range, base: int, fingerprints: FingerprintByRank, classes: Sequence[int]) -> None:
        self._ranks = ranks
        self._fingerprints = fingerprints
        self.sampled: list[int] = []
        self.is_unresolved = False
        self.parts = [0] * len(ranks)
        by_class: defaultdict[int, list[int]] = defaultdict(list)
        for index, rank in enumerate(ranks):
            by_class[classes[rank]].append(index)
        for indices in sorted(by_class.values(), key=lambda indices: (-len(indices), indices[0])):
            if len(indices) > 1:
                self._sample(indices, base)

    def _sample(self, indices: Sequence[int], base: int) -> None:
        """Sample the indices of one class."""
        reference = base if base in indices else indices[0]
        sampled = self._samples(indices, {0, indices.index(reference), len(indices) - 1})
        self.sampled.extend(self._ranks[indices[place]] for place in sampled)
        if None in sampled.values():
            return  # there was no reason to sample, or the samples have yet to be taken
        if len(self.sampled) >= MAX_SAMPLES:
            self.is_unresolved = True
            for index in indices:
                self.parts[index] = index + 1
            return
        number = {sampled[indices.index(reference)]: 0}
        part = 0
        for place, index in enumerate(indices):
            if place in sampled:
                part = number.setdefault(sampled[place], index + 1)
            self.parts[index] = part

    def _samples(self, indices: Sequence[int], wanted: set[int]) -> dict[int, Fingerprint | None]:
        """By place among the indices the fingerprint of the rank there, None if it was not simulated."""
        last = len(indices) - 1
        sampled: dict[int, Fingerprint | None] = {}
        while wanted and len(self.sampled) + len(sampled) < MAX_SAMPLES:
            sampled |= {place: self._fingerprints.get(self._ranks[indices[place]]) for place in wanted}
            if None in sampled.values():
                break
            different = [(one, other) for one, other in pairwise(sorted(sampled)) if sampled[one] != sampled[other]]
            # Often only the last index differs: its neighbour is sampled before the middle.
            wanted = {other - 1 if other == last else (one + other) // 2 for one, other in different} - sampled.keys()
        return sampled


def _indices_of_parts(parts: Sequence[int]) -> Iterable[str]:
    """For each part its indices, in order."""
    indices: defaultdict[int, list[int]] = defaultdict(list)
    for index, part in enumerate(parts):
        indices[part].append(index)
    return map(format_ranks, sorted(indices.values()))
