"""Which ranks of a large world to simulate, so that the others may be assumed to do what one of these does; and whether that held.

The ranks lie on a grid of axes: the mesh, else nodes and ranks on a node. Pipeline stages are all simulated, along one line through the
grid. What the other axes matter is found out by looking: first at corners and the middle of the grid. Where these do as the line does, the
axes are taken not to matter; where not, each axis is looked at by itself, at its first, middle and last place. At last some ranks chosen
at random are simulated to see whether they do as assumed. Ranks that the script names are always simulated, and stand for themselves.

Pure: from the traces of the ranks simulated so far follow the next ones to simulate.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from fakerun.analysis.classes import Trace
from fakerun.analysis.grid import Grid, Place
from fakerun.job.named_ranks import NamedRank
from fakerun.records.finding import Finding, Severity
from fakerun.records.run import AssumedRanks
from fakerun.units import format_ranks

_EVERY_PLACE = frozenset({"pp", "pipe", "pipeline", "stage", "stages"})
"""Axes on which every place does something else."""

_MOST = 64
"""Representatives that are simulated at most where ranks differ along several axes; and the world that is simulated whole anyway."""

_SPOT_CHECKS = 3

ByRank = Mapping[int, Trace]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is assumed of the ranks that were not simulated, and what is to be said of it."""

    assumed: tuple[AssumedRanks, ...]
    findings: tuple[Finding, ...]


class Representatives:
    """The ranks to simulate of a grid; `axes` maps axis to size, ranks are laid out in row-major order. `seed` chooses the spot checks."""

    def __init__(self, axes: Mapping[str, int], named: Iterable[NamedRank], *, ranks_per_node: int, seed: int) -> None:
        self.axes = axes
        self._grid = Grid(axes)
        self._base = tuple(0 if name in _EVERY_PLACE else min(1, size - 1) for name, size in axes.items())
        self._named = self._ranks_named(named, ranks_per_node) | {0}  # rank 0 logs, saves and prints in many scripts
        self._seed = seed

    def next(self, traces: ByRank) -> tuple[int, ...]:
        """The ranks to simulate next; none when there is nothing more to find out."""
        if self._grid.size <= _MOST:
            return tuple(rank for rank in range(self._grid.size) if rank not in traces)
        for stage in self._stages(traces):
            lacking = tuple(sorted(stage - traces.keys()))
            if lacking:
                return lacking
        return ()

    def stand_in(self, rank: int) -> int:
        """The rank at the same stage on the line along which all stages are simulated."""
        place = self._grid.place(rank)
        return self._grid.rank(tuple(here if self._is_stage(axis) else self._base[axis] for axis, here in enumerate(place)))

    def choice(self, traces: ByRank) -> Choice:
        """What follows when there is nothing more to simulate."""
        places = self._special_places(traces)
        refuted = {self._like(rank, places) for rank in self._refuted(traces, places)}
        alike: dict[int, list[int]] = {}
        open_ranks = []
        for rank in range(self._grid.size):
            if rank not in traces:
                like = self._like(rank, places)
                if like in traces and like not in refuted and self._has_done_something(traces):
                    alike.setdefault(like, []).append(rank)
                else:
                    open_ranks.append(rank)
        assumed = tuple(AssumedRanks(ranks=tuple(ranks), like=like) for like, ranks in sorted(alike.items()))
        findings = [*self._told(assumed, traces, places)]
        if open_ranks:
            findings.append(_nothing_assumed(open_ranks, refuted))
        return Choice(assumed, tuple(findings))

    # -- what to simulate -------------------------------------------------------------------------------------------------------------

    def _stages(self, traces: ByRank) -> Iterator[set[int]]:
        """Sets of ranks, each of which is to be simulated before the next can be asked for."""
        line = {self.stand_in(rank) for rank in (self._grid.rank(place) for place in self._along_stages())}
        yield line
        if not self._has_done_something(traces):
            return
        corners = self._corners()
        yield corners | self._named
        planned = line | corners | self._named
        if self._differ_at(corners, traces):
            probes = set(self._probes())
            yield probes
            planned |= probes
        representatives = self._combinations(self._special_places(traces))
        yield representatives
        planned |= representatives
        yield self._spot_checks(planned)

    @staticmethod
    def _has_done_something(traces: ByRank) -> bool:
        """Whether any rank went through: where all fail there is nothing to learn of others."""
        return any(trace[-1] is None for trace in traces.values())

    def _corners(self) -> set[int]:
        first, middle, last = (tuple(f(size) for size in self._grid.sizes) for f in (_first, _middle, _last))
        stages = [axis for axis in range(len(self._grid.sizes)) if self._is_stage(axis)]
        swapped = (_with(first, stages, last), _with(last, stages, first))
        return {self._grid.rank(place) for place in (first, middle, last, *swapped)}

    def _probes(self) -> Iterator[int]:
        """First, middle and last place of each axis by itself, on the first and the last stage."""
        for axis, size in enumerate(self._grid.sizes):
            if not self._is_stage(axis):
                for line, place in product(self._ends_of_stages(), (_first(size), _middle(size), _last(size))):
                    yield self._grid.rank(_with(line, [axis], _constant(place, self._grid.sizes)))

    def _combinations(self, special: Sequence[frozenset[int] | None]) -> set[int]:
        """A rank for each combination of places that matter; nothing more where these are too many."""
        choices = [self._places_that_matter(axis, special[axis]) for axis in range(len(self._grid.sizes))]
        if prod(map(len, choices)) > max(_MOST, len(self._along_stages())):
            return set()
        return {self._grid.rank(place) for place in product(*choices)}

    def _places_that_matter(self, axis: int, special: frozenset[int] | None) -> Sequence[int]:
        if special is None:
            return range(self._grid.sizes[axis])
        return sorted(special | {self._base[axis]})

    def _spot_checks(self, planned: set[int]) -> set[int]:
        rng = random.Random(self._seed)
        found: set[int] = set()
        while len(found) < min(_SPOT_CHECKS, self._grid.size - len(planned)):
            found.add(rng.randrange(self._grid.size))
            found -= planned
        return found

    # -- what matters -----------------------------------------------------------------------------------------------------------------

    def _special_places(self, traces: ByRank) -> list[frozenset[int] | None]:
        """By axis, the places that do not do as the base does; None where every place is taken to be different."""
        return [self._special_on(axis, traces) for axis in range(len(self._grid.sizes))]

    def _special_on(self, axis: int, traces: ByRank) -> frozenset[int] | None:
        if self._is_stage(axis):
            return None
        size, special = self._grid.sizes[axis], set()
        for place in (_first(size), _middle(size), _last(size)):
            ranks = [self._grid.rank(_with(line, [axis], _constant(place, self._grid.sizes))) for line in self._ends_of_stages()]
            if any(rank in traces and traces[rank] != traces.get(self.stand_in(rank)) for rank in ranks):
                special.add(place)
        return None if _middle(size) in special and _middle(size) not in (_first(size), _last(size)) else frozenset(special)

    def _differ_at(self, ranks: Iterable[int], traces: ByRank) -> bool:
        return any(traces[rank] != traces.get(self.stand_in(rank)) for rank in ranks if rank in traces)

    def _like(self, rank: int, special: Sequence[frozenset[int] | None]) -> int:
        """The rank that stands for this one."""
        place = tuple(
            here if places is None or here in places else base
            for here, places, base in zip(self._grid.place(rank), special, self._base, strict=True)
        )
        return self._grid.rank(place)

    def _refuted(self, traces: ByRank, special: Sequence[frozenset[int] | None]) -> list[int]:
        """Simulated ranks that do not do what the ones do that would have stood for them. A rank that the script names may."""
        return [rank for rank in sorted(traces.keys() - self._named) if traces.get(self._like(rank, special), traces[rank]) != traces[rank]]

    # -- what to say ------------------------------------------------------------------------------------------------------------------

    def _told(self, assumed: Sequence[AssumedRanks], traces: ByRank, special: Sequence[frozenset[int] | None]) -> Iterator[Finding]:
        if not assumed:
            return
        count = sum(len(each.ranks) for each in assumed)
        axes = [name for name, places in zip(self._grid.names, special, strict=True) if places is not None]
        odd = {rank for rank in traces if traces[rank] != traces.get(self.stand_in(rank), traces[rank])}
        message = (
            f"{count} of {self._grid.size} ranks were not simulated: along {' and '.join(axes)} ranks are taken to do the same. "
            f"{len(traces)} ranks were simulated and compared, corners of the mesh and {_SPOT_CHECKS} chosen at random among them; "
        )
        exceptions = f"only rank{'s' * (len(odd) > 1)} {format_ranks(odd)} differed." if odd else "none differed."
        yield Finding(code="ranks-assumed", severity=Severity.NOTE, message=message + exceptions, hint="--ranks all simulates every rank.")

    # -- the grid ---------------------------------------------------------------------------------------------------------------------

    def _is_stage(self, axis: int) -> bool:
        return self._grid.names[axis] in _EVERY_PLACE

    def _along_stages(self) -> list[Place]:
        return list(product(*(range(size) if self._is_stage(axis) else [self._base[axis]] for axis, size in enumerate(self._grid.sizes))))

    def _ends_of_stages(self) -> tuple[Place, Place]:
        along = self._along_stages()
        return along[0], along[-1]

    def _ranks_named(self, named: Iterable[NamedRank], ranks_per_node: int) -> set[int]:
        ranks = set()
        for each in named:
            if each.axis == "local":
                ranks |= {each.number, ranks_per_node + each.number}
            elif each.axis in self._grid.names:
                axis = self._grid.names.index(each.axis)
                if each.number < self._grid.sizes[axis]:
                    ranks.add(self._grid.rank(_with(self._base, [axis], _constant(each.number, self._grid.sizes))))
            else:
                ranks.add(each.number)
        return {rank for rank in ranks if rank < self._grid.size}


def _nothing_assumed(ranks: Sequence[int], refuted: Iterable[int]) -> Finding:
    others = format_ranks(refuted)
    why = f"ranks in their places do not all do the same as ranks {others}" if others else "ranks differ too much along the mesh"
    return Finding(
        code="ranks-differ",
        severity=Severity.WARNING,
        message=f"nothing is known of {len(ranks)} ranks that were not simulated: {why}.",
        hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7.",
    )


def _first(size: int) -> int:
    return 0


def _middle(size: int) -> int:
    return size // 2


def _last(size: int) -> int:
    return size - 1


def _constant(place: int, sizes: Sequence[int]) -> Place:
    return (place,) * len(sizes)


def _with(place: Sequence[int], axes: Sequence[int], other: Sequence[int]) -> Place:
    """`place`, on `axes` replaced by `other`."""
    return tuple(other[axis] if axis in axes else here for axis, here in enumerate(place))
