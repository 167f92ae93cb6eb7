"""Which ranks of a large world to simulate, so that the others may be assumed to do what one of these does; and whether that held.

Ranks for which everything that the program tests of its rank comes out the same are a class (`outcomes`); every class gets a simulated
rank, which may test more, until nothing new is learnt. What no test shows is sampled: the ranks lie on a mesh (without one, the axes are
nodes and ranks on a node); all pipeline stages are simulated, then the corners and the middle of the mesh. If these ranks do what the rank
of their stage does, the other axes are assumed not to matter; if not, each axis is sampled by itself. A few random ranks are simulated to
test the assumptions.

Pure: the next ranks to simulate follow from the fingerprints of the ranks simulated so far, and from what they tested.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fakerun.analysis.representatives.assumptions import Figures, assumed_finding, refuted_finding, unknown_finding
from fakerun.analysis.representatives.equivalence import MAX_SAMPLES, Equivalence, FingerprintByRank
from fakerun.analysis.representatives.outcomes import Outcomes
from fakerun.analysis.representatives.sample_points import SamplePoints
from fakerun.mesh import Mesh
from fakerun.records.findings import Finding
from fakerun.records.rank_function import UnfollowedUse
from fakerun.records.run import AssumedRanks

MAX_CLASSES = 256
"""Classes of which a rank is simulated, at most, beside the pipeline stages."""
_MAX_DOUBTFUL = 16
"""If nothing can be assumed about so few ranks, they are simulated."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is assumed about the ranks that were not simulated, and the findings that say so."""

    assumed: tuple[AssumedRanks, ...]
    findings: tuple[Finding, ...]


Groupless = Callable[[Sequence[AssumedRanks]], Collection[int]]


def _no_rank(_: Sequence[AssumedRanks]) -> Collection[int]:
    return ()


class Representatives:
    """The ranks to simulate of a mesh. `samples` random ones, which `seed` chooses, are spot checks."""

    def __init__(self, mesh: Mesh, outcomes: Outcomes, *, samples: int, seed: int) -> None:
        self.mesh = mesh
        self._outcomes = outcomes
        self._points = SamplePoints(mesh)
        self._size = mesh.world_size
        self._samples = samples
        self._seed = seed

    def next(self, fingerprints: FingerprintByRank) -> tuple[int, ...]:
        """The ranks to simulate next; none when there is nothing more to find out."""
        if self._size <= MAX_SAMPLES:
            return tuple(rank for rank in range(self._size) if rank not in fingerprints)
        for wanted in self._rounds(fingerprints):
            missing = tuple(sorted(set(wanted) - fingerprints.keys()))
            if missing:
                return missing
        return ()

    def stage_rank(self, rank: int) -> int:
        """The rank that is simulated for the stage of that rank before anything else is known."""
        return self._points.stage_rank(rank)

    def selection(
        self, fingerprints: FingerprintByRank, *, unfollowed: Sequence[UnfollowedUse] = (), groupless: Groupless = _no_rank
    ) -> Selection:
        """What follows when there is nothing more to simulate.

        `unfollowed` are the uses of the rank that were not followed; `groupless` returns the assumed ranks whose groups are not known.
        """
        equivalence = self.equivalence(fingerprints)
        refuted = self._refuted(equivalence, fingerprints)
        assumed, doubtful, unrepresented = self._sorted(equivalence, fingerprints, refuted)
        without = frozenset(groupless(assumed))
        assumed = _without(assumed, without)
        figures = Figures(
            world_size=self._size,
            simulated=len(fingerprints),
            assumed=sum(len(each.ranks) for each in assumed),
            classes=self._outcomes.classes,
            tests=self._outcomes.tests,
            has_groups=self._outcomes.has_groups,
            samples=self._samples,
            merged=self._outcomes.is_merged,
            not_evaluated=self._outcomes.not_evaluated,
            has_parts=equivalence.has_parts,
            common=tuple(equivalence.description()),
            outliers=tuple(equivalence.outliers()),
            unfollowed=tuple(unfollowed),
            unknown=len(doubtful) + len(unrepresented) + len(without),
        )
        return Selection(
            assumed=assumed,
            findings=(
                *assumed_finding(figures),
                *refuted_finding(len(doubtful), {equivalence.representatives[cell] for cell in refuted}),
                *unknown_finding(len(unrepresented), len(without)),
            ),
        )

    def equivalence(self, fingerprints: FingerprintByRank) -> Equivalence:
        """What is known now."""
        return Equivalence(self._points, fingerprints, self._outcomes.numbers)

    def _sorted(
        self, equivalence: Equivalence, fingerprints: FingerprintByRank, refuted: Collection[int]
    ) -> tuple[tuple[AssumedRanks, ...], list[int], list[int]]:
        """The ranks that were not simulated: those that match a representative, those that are in doubt, those of no simulated class."""
        has_succeeded = _some_succeeded(fingerprints)
        assumed: dict[int, list[int]] = {}
        doubtful: list[int] = []
        unrepresented: list[int] = []
        representatives = equivalence.representatives
        for rank, cell in enumerate(equivalence.cells):
            if rank in fingerprints:
                continue
            if cell in refuted or not has_succeeded or (equivalence.is_unresolved and cell not in representatives):
                doubtful.append(rank)
            elif cell in representatives:
                assumed.setdefault(representatives[cell], []).append(rank)
            else:
                unrepresented.append(rank)
        found = tuple(AssumedRanks(ranks=tuple(ranks), representative=own) for own, ranks in sorted(assumed.items()))
        return found, doubtful, unrepresented

    def _rounds(self, fingerprints: FingerprintByRank) -> Iterator[Iterable[int]]:
        """Sets of ranks, each to be simulated before the next is asked for. The rounds are few: processors are idle at the end of each."""
        planned = set(self._points.stage_ranks)
        yield planned
        if not _some_succeeded(fingerprints):
            return
        corners = self._points.corners()
        planned |= corners
        planned |= self._spot_checks(planned)
        yield planned
        equivalence = self.equivalence(fingerprints)
        if any(fingerprints[rank] != fingerprints[self.stage_rank(rank)] for rank in corners):
            yield equivalence.samples()
        most = MAX_CLASSES + len(planned)
        yield equivalence.unrepresented()[: max(0, most - len(fingerprints))]
        neighbours = (self._neighbour(equivalence, rank) for rank in equivalence.outliers())
        yield [neighbour for neighbour in neighbours if neighbour is not None]
        yield self._doubtful(equivalence, fingerprints)

    def _neighbour(self, equivalence: Equivalence, outlier: int) -> int | None:
        """The rank of the same cell beside an outlier that is at an end of an axis."""
        neighbour = self._points.inner_neighbour(outlier, equivalence.representatives[equivalence.cells[outlier]])
        return neighbour if neighbour is not None and equivalence.cells[neighbour] == equivalence.cells[outlier] else None

    def _refuted(self, equivalence: Equivalence, fingerprints: FingerprintByRank) -> set[int]:
        """The cells of which nothing is known, because simulated ranks of them do not all do the same.

        Neither rank 0, which logs and saves, refutes anything, nor an outlier at the end of an axis whose neighbour does as assumed.
        """
        found = set()
        for rank in equivalence.outliers():
            if rank == 0:
                continue
            cell = equivalence.cells[rank]
            neighbour = self._neighbour(equivalence, rank)
            if neighbour is None or fingerprints.get(neighbour) != fingerprints[equivalence.representatives[cell]]:
                found.add(cell)
        return found

    def _doubtful(self, equivalence: Equivalence, fingerprints: FingerprintByRank) -> set[int]:
        """The ranks about which nothing can be assumed, if they are few enough to be simulated."""
        refuted = self._refuted(equivalence, fingerprints)
        found = {rank for rank, cell in enumerate(equivalence.cells) if cell in refuted} if refuted else set()
        return found if len(found - fingerprints.keys()) <= _MAX_DOUBTFUL else set()

    def _spot_checks(self, planned: set[int]) -> set[int]:
        drawn = random.Random(self._seed).sample(range(self._size), min(self._size, self._samples + len(planned)))
        return set([rank for rank in drawn if rank not in planned][: self._samples])


def _without(assumed: Iterable[AssumedRanks], ranks: Collection[int]) -> tuple[AssumedRanks, ...]:
    """Without these ranks."""
    if not ranks:
        return tuple(assumed)
    kept = (replace(each, ranks=tuple(rank for rank in each.ranks if rank not in ranks)) for each in assumed)
    return tuple(each for each in kept if each.ranks)


def _some_succeeded(fingerprints: FingerprintByRank) -> bool:
    """If all ranks fail there is nothing to learn about others. Those that are blocked may wait for others."""
    return any(failure is None for *_, failure, _ in fingerprints.values())
