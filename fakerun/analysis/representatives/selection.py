"""Which ranks of a large world to simulate, so that the others may be assumed to do what one of these does; and whether that held.

The ranks lie on a grid of axes: the mesh, else nodes and ranks on a node. Pipeline stages are all simulated, along one line through the
grid. What the other axes matter is found out by looking: first at corners and the middle of the grid. Where these do as the line does, the
axes are taken not to matter; where not, each axis is looked at by itself. Some ranks chosen at random are simulated to see whether they do
as assumed. Ranks that the script names are always simulated, and stand for themselves.

Pure: from the traces of the ranks simulated so far follow the next ones to simulate.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.representatives.equivalence import MOST, Alike, ByRank
from fakerun.analysis.representatives.sample_points import Landmarks
from fakerun.job.named_ranks import NamedRank
from fakerun.mesh import Mesh
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import AssumedRanks
from fakerun.units import format_ranks

_SPOT_CHECKS = 4
_FEW = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """What is assumed of the ranks that were not simulated, and what is to be said of it."""

    assumed: tuple[AssumedRanks, ...]
    findings: tuple[Finding, ...]


class Representatives:
    """The ranks to simulate of a mesh. `seed` chooses the spot checks."""

    def __init__(self, mesh: Mesh, named: Iterable[NamedRank], *, ranks_per_node: int, seed: int) -> None:
        self.mesh = mesh
        self._marks = Landmarks(mesh)
        self._size = self._marks.mesh.world_size
        self._named = self._ranks_named(named, ranks_per_node) | {0}
        self._seed = seed

    def next(self, traces: ByRank) -> tuple[int, ...]:
        """The ranks to simulate next; none when there is nothing more to find out."""
        if self._size <= MOST:
            return tuple(rank for rank in range(self._size) if rank not in traces)
        for wanted in self._rounds(traces):
            lacking = tuple(sorted(wanted - traces.keys()))
            if lacking:
                return lacking
        return ()

    def stand_in(self, rank: int) -> int:
        """The rank at the same stage on the line along which all stages are simulated."""
        return self._marks.on_line(rank)

    def choice(self, traces: ByRank) -> Choice:
        """What follows when there is nothing more to simulate."""
        alike = Alike(self._marks, traces)
        refuted = self._refuted(alike, traces)
        assumed: dict[int, list[int]] = {}
        unknown: list[int] = []
        for rank in range(self._size):
            if rank not in traces:
                like = alike.like(rank)
                known = like in traces and like not in refuted and _some_went_through(traces)
                (assumed.setdefault(like, []) if known else unknown).append(rank)
        return Choice(
            assumed=tuple(AssumedRanks(ranks=tuple(ranks), representative=like) for like, ranks in sorted(assumed.items())),
            findings=(*self._assumed(alike, sum(map(len, assumed.values())), len(traces)), *_nothing_assumed(unknown, refuted)),
        )

    def _rounds(self, traces: ByRank) -> Iterator[set[int]]:
        """Sets of ranks, each of which is to be simulated before the next can be asked for. Few rounds: each ends with idle processors."""
        planned = set(self._marks.line)
        yield planned
        if not _some_went_through(traces):
            return
        corners = self._marks.corners()
        planned |= corners | self._named
        planned |= self._spot_checks(planned)
        yield planned
        if any(traces[rank] != traces[self.stand_in(rank)] for rank in corners):
            while not (probes := Alike(self._marks, traces).to_look_at()) <= planned:
                planned |= probes
                yield planned
        planned |= Alike(self._marks, traces).combinations()
        yield planned
        alike = Alike(self._marks, traces)
        planned |= {beside for rank in alike.odd() if (beside := self._marks.beside(rank, alike.like(rank))) is not None}
        yield planned
        yield planned | self._in_doubt(traces)

    def _refuted(self, alike: Alike, traces: ByRank) -> set[int]:
        """The ranks that cannot stand for others: one that they would have stood for does something else.

        Not where the script names that one; nor where it is the last on an axis, and the one before it does as assumed.
        """
        found = set()
        for rank in alike.odd():
            like = alike.like(rank)
            beside = self._marks.beside(rank, like)
            if rank not in self._named and (beside is None or traces.get(beside) != traces[like]):
                found.add(like)
        return found

    def _in_doubt(self, traces: ByRank) -> set[int]:
        """The ranks that nothing can be assumed of, if they are so few that they can as well be simulated."""
        alike = Alike(self._marks, traces)
        refuted = self._refuted(alike, traces)
        found = {rank for rank in range(self._size) if alike.like(rank) in refuted} if refuted else set()
        return found if len(found - traces.keys()) <= _FEW else set()

    def _spot_checks(self, planned: set[int]) -> set[int]:
        rng = random.Random(self._seed)
        found: set[int] = set()
        while len(found) < min(_SPOT_CHECKS, self._size - len(planned)):
            found.add(rng.randrange(self._size))
            found -= planned
        return found

    def _ranks_named(self, named: Iterable[NamedRank], ranks_per_node: int) -> set[int]:
        ranks: set[int] = set()
        mesh = self._marks.mesh
        for each in named:
            if each.axis == "local":
                ranks |= {each.number, ranks_per_node + each.number}
            elif each.axis in mesh.axes:
                axis = mesh.axes.index(each.axis)
                ranks |= {self._marks.at(0, axis, each.number)} if each.number < mesh.sizes[axis] else set()
            else:
                ranks.add(each.number)
        return {rank for rank in ranks if rank < self._size}

    def _assumed(self, alike: Alike, count: int, simulated: int) -> Iterator[Finding]:
        if not count:
            return
        odd = alike.odd()
        exceptions = "none did otherwise"
        if odd:
            words = "ranks {} differ, and stand for themselves" if len(odd) > 1 else "rank {} differs, and stands for itself"
            exceptions = words.format(format_ranks(odd))
        yield Finding(
            code=FindingCode.RANKS_ASSUMED,
            message=f"{count} of {self._size} ranks were not simulated: {alike.in_words()} ranks are taken to do the same. "
            f"{simulated} were, at corners and ends of the mesh and {_SPOT_CHECKS} chosen at random: {exceptions}.",
            hint="--ranks all simulates every rank.",
        )


def _some_went_through(traces: ByRank) -> bool:
    """Where all ranks fail there is nothing to learn of others."""
    return any(trace[-1] is None for trace in traces.values())


def _nothing_assumed(ranks: Sequence[int], refuted: Iterable[int]) -> Iterator[Finding]:
    if not ranks:
        return
    others = format_ranks(refuted)
    why = f"others in their places do not do what the ranks {others} do, which would have stood for them"
    if not others:
        why = "those that were differ too much from each other, or failed"
    yield Finding(
        code=FindingCode.ASSUMPTION_REFUTED,
        message=f"nothing is known of {len(ranks)} ranks that were not simulated: {why}.",
        hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7.",
    )
