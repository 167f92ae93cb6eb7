"""Which ranks of a large world to simulate, so that the others may be assumed to do what one of these does; and whether that held.

The ranks lie on a mesh; without one, the axes are nodes and ranks on a node. All pipeline stages are simulated, with one rank each. Whether
the other axes matter is found out by sampling: first at the corners and the middle of the mesh. If these ranks do what the rank of their
stage does, the other axes are assumed not to matter; if not, each axis is sampled by itself. A few random ranks are simulated to test the
assumptions. Ranks that the script names are always simulated, and represent only themselves.

Pure: the next ranks to simulate follow from the fingerprints of the ranks simulated so far.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.representatives.equivalence import MAX_SAMPLES, Equivalence, FingerprintByRank
from fakerun.analysis.representatives.sample_points import SamplePoints
from fakerun.job.named_ranks import NamedRank
from fakerun.mesh import Mesh
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import AssumedRanks
from fakerun.units import name_ranks

_SPOT_CHECKS = 4
_MAX_DOUBTFUL = 16
"""If nothing can be assumed about so few ranks, they are simulated."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is assumed about the ranks that were not simulated, and the findings that say so."""

    assumed: tuple[AssumedRanks, ...]
    findings: tuple[Finding, ...]


class Representatives:
    """The ranks to simulate of a mesh. `seed` chooses the spot checks."""

    def __init__(self, mesh: Mesh, named: Iterable[NamedRank], *, ranks_per_node: int, seed: int) -> None:
        self.mesh = mesh
        self._points = SamplePoints(mesh)
        self._size = mesh.world_size
        self._named = self._named_ranks(named, ranks_per_node) | {0}
        self._seed = seed

    def next(self, fingerprints: FingerprintByRank) -> tuple[int, ...]:
        """The ranks to simulate next; none when there is nothing more to find out."""
        if self._size <= MAX_SAMPLES:
            return tuple(rank for rank in range(self._size) if rank not in fingerprints)
        for wanted in self._rounds(fingerprints):
            missing = tuple(sorted(wanted - fingerprints.keys()))
            if missing:
                return missing
        return ()

    def stage_rank(self, rank: int) -> int:
        """The rank that is simulated for the stage of that rank before anything else is known."""
        return self._points.stage_rank(rank)

    def selection(self, fingerprints: FingerprintByRank) -> Selection:
        """What follows when there is nothing more to simulate."""
        equivalence = Equivalence(self._points, fingerprints)
        refuted = self._refuted(equivalence, fingerprints)
        assumed: dict[int, list[int]] = {}
        unknown: list[int] = []
        for rank in range(self._size):
            if rank not in fingerprints:
                representative = equivalence.representative(rank)
                is_known = representative in fingerprints and representative not in refuted and _some_succeeded(fingerprints)
                (assumed.setdefault(representative, []) if is_known else unknown).append(rank)
        return Selection(
            assumed=tuple(AssumedRanks(ranks=tuple(ranks), representative=own) for own, ranks in sorted(assumed.items())),
            findings=(*self._assumed_findings(equivalence, assumed, unknown), *_unknown_findings(unknown, refuted)),
        )

    def _rounds(self, fingerprints: FingerprintByRank) -> Iterator[set[int]]:
        """Sets of ranks, each to be simulated before the next is asked for. The rounds are few: processors are idle at the end of each."""
        planned = set(self._points.stage_ranks)
        yield planned
        if not _some_succeeded(fingerprints):
            return
        corners = self._points.corners()
        planned |= corners | self._named
        planned |= self._spot_checks(planned)
        yield planned
        if any(fingerprints[rank] != fingerprints[self.stage_rank(rank)] for rank in corners):
            while not (samples := Equivalence(self._points, fingerprints).samples()) <= planned:
                planned |= samples
                yield planned
        planned |= Equivalence(self._points, fingerprints).combinations()
        yield planned
        equivalence = Equivalence(self._points, fingerprints)
        neighbours = (self._points.inner_neighbour(rank, equivalence.representative(rank)) for rank in equivalence.outliers())
        planned |= {neighbour for neighbour in neighbours if neighbour is not None}
        yield planned
        yield planned | self._doubtful(fingerprints)

    def _refuted(self, equivalence: Equivalence, fingerprints: FingerprintByRank) -> set[int]:
        """The ranks that cannot represent others, because a rank that they would represent does something else.

        An outlier that the script names refutes nothing; nor does one at the end of an axis whose neighbour does as assumed.
        """
        found = set()
        for rank in equivalence.outliers():
            representative = equivalence.representative(rank)
            neighbour = self._points.inner_neighbour(rank, representative)
            if rank not in self._named and (neighbour is None or fingerprints.get(neighbour) != fingerprints[representative]):
                found.add(representative)
        return found

    def _doubtful(self, fingerprints: FingerprintByRank) -> set[int]:
        """The ranks about which nothing can be assumed, if they are few enough to be simulated."""
        equivalence = Equivalence(self._points, fingerprints)
        refuted = self._refuted(equivalence, fingerprints)
        found = {rank for rank in range(self._size) if equivalence.representative(rank) in refuted} if refuted else set()
        return found if len(found - fingerprints.keys()) <= _MAX_DOUBTFUL else set()

    def _spot_checks(self, planned: set[int]) -> set[int]:
        rng = random.Random(self._seed)
        found: set[int] = set()
        while len(found) < min(_SPOT_CHECKS, self._size - len(planned)):
            found.add(rng.randrange(self._size))
            found -= planned
        return found

    def _named_ranks(self, named: Iterable[NamedRank], ranks_per_node: int) -> set[int]:
        ranks: set[int] = set()
        for each in named:
            if each.axis == "local":
                ranks |= {each.number, ranks_per_node + each.number}
            elif each.axis in self.mesh.axes:
                axis = self.mesh.axes.index(each.axis)
                ranks |= {self._points.rank_beside_probe(0, axis, each.number)} if each.number < self.mesh.sizes[axis] else set()
            else:
                ranks.add(each.number)
        return {rank for rank in ranks if rank < self._size}

    def _assumed_findings(self, equivalence: Equivalence, assumed: dict[int, list[int]], unknown: Sequence[int]) -> Iterator[Finding]:
        count = sum(map(len, assumed.values()))
        if not count:
            return
        simulated = self._size - count - len(unknown)
        common = equivalence.description()
        others = f"{count} others" if unknown else "the rest"
        match = f"the simulated rank of their {common}" if common else "a simulated rank"
        outliers = equivalence.outliers()
        s = "s" * (len(outliers) == 1)
        exceptions = f" {name_ranks(outliers).capitalize()} differ{s} and represent{s} no other rank." if outliers else ""
        yield Finding(
            code=FindingCode.RANKS_ASSUMED,
            message=f"{simulated} of {self._size} ranks were simulated (mesh corners and edges, {_SPOT_CHECKS} at random); "
            f"{others} are assumed to match {match}.{exceptions}",
            hint="--ranks all simulates every rank.",
        )


def _some_succeeded(fingerprints: FingerprintByRank) -> bool:
    """If all ranks fail there is nothing to learn about others. Those that are blocked may wait for others."""
    return any(failure is None for *_, failure, _ in fingerprints.values())


def _unknown_findings(ranks: Sequence[int], refuted: Collection[int]) -> Iterator[Finding]:
    if not ranks:
        return
    reason = "the simulated ranks differ too much from each other, or failed"
    if refuted:
        reason = f"not all ranks that {name_ranks(refuted)} would represent do the same"
    yield Finding(
        code=FindingCode.ASSUMPTION_REFUTED,
        message=f"nothing is known about {len(ranks)} ranks that were not simulated: {reason}.",
        hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7.",
    )
