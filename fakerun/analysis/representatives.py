"""Which ranks of a large world to simulate, so that the others may be assumed to do what one of these does; and whether that held.

The ranks lie on a grid of axes: the mesh, else nodes and ranks on a node. Pipeline stages are all simulated, along one line through the
grid. What the other axes matter is found out by looking: first at corners and the middle of the grid. Where these do as the line does, the
axes are taken not to matter; where not, each axis is looked at by itself, and where two places on it differ, the place between them, until
it is known from which place on ranks do something else (the last shards of a tensor are smaller or empty). At last some ranks chosen at
random are simulated to see whether they do as assumed. Ranks that the script names are always simulated, and stand for themselves.

Pure: from the traces of the ranks simulated so far follow the next ones to simulate.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
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
"""Places that are looked at on an axis, and combinations of places that matter, at most; and the world that is simulated whole anyway."""

_SPOT_CHECKS = 4

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
        self._stages = frozenset(axis for axis, name in enumerate(axes) if name in _EVERY_PLACE)
        # Not the corner: rank 0 logs, saves and prints in many scripts.
        self._base = tuple(0 if axis in self._stages else min(1, size - 1) for axis, size in enumerate(self._grid.sizes))
        self._line = [self._grid.rank(place) for place in self._along_stages()]
        self._named = self._ranks_named(named, ranks_per_node) | {0}
        self._seed = seed

    def next(self, traces: ByRank) -> tuple[int, ...]:
        """The ranks to simulate next; none when there is nothing more to find out."""
        if self._grid.size <= _MOST:
            return tuple(rank for rank in range(self._grid.size) if rank not in traces)
        for wanted in self._rounds(traces):
            lacking = tuple(sorted(wanted - traces.keys()))
            if lacking:
                return lacking
        return ()

    def stand_in(self, rank: int) -> int:
        """The rank at the same stage on the line along which all stages are simulated."""
        return self._grid.moved(rank, self._others, self._base)

    def choice(self, traces: ByRank) -> Choice:
        """What follows when there is nothing more to simulate."""
        stands = _StandsFor(self, traces)
        refuted = {stands.like(rank) for rank in stands.refuted}
        alike: dict[int, list[int]] = {}
        unknown: list[int] = []
        for rank in range(self._grid.size):
            if rank not in traces:
                like = stands.like(rank)
                known = like in traces and like not in refuted and _some_went_through(traces)
                (alike.setdefault(like, []) if known else unknown).append(rank)
        assumed = tuple(AssumedRanks(ranks=tuple(ranks), like=like) for like, ranks in sorted(alike.items()))
        findings = [*stands.told(sum(map(len, alike.values()))), *_nothing_assumed(unknown, refuted)]
        return Choice(assumed, tuple(findings))

    # -- what to simulate -------------------------------------------------------------------------------------------------------------

    def _rounds(self, traces: ByRank) -> Iterator[set[int]]:
        """Sets of ranks, each of which is to be simulated before the next can be asked for."""
        planned = set(self._line)
        yield planned
        if not _some_went_through(traces):
            return
        corners = self._corners()
        planned |= corners | self._named
        yield planned
        if any(traces[rank] != traces[self.stand_in(rank)] for rank in corners):
            while not (probes := self._probes(traces)) <= planned:
                planned |= probes
                yield planned
        planned |= _StandsFor(self, traces).combinations()
        yield planned
        yield self._spot_checks(planned)

    def _corners(self) -> set[int]:
        first, middle, last = (tuple(at(size) for size in self._grid.sizes) for at in (_first, _middle, _last))
        places = (first, middle, last, _with(first, self._stages, last), _with(last, self._stages, first))
        return {self._grid.rank(place) for place in places}

    def _probes(self, traces: ByRank) -> set[int]:
        """Ranks whose places on one axis are to be looked at, on the first and the last stage."""
        return {rank for axis in self._others for place in self.looked_at(axis, traces) for rank in self._ranks_at(axis, place)}

    def _spot_checks(self, planned: set[int]) -> set[int]:
        rng = random.Random(self._seed)
        found: set[int] = set()
        while len(found) < min(_SPOT_CHECKS, self._grid.size - len(planned)):
            found.add(rng.randrange(self._grid.size))
            found -= planned
        return found

    # -- what is known ----------------------------------------------------------------------------------------------------------------

    def looked_at(self, axis: int, traces: ByRank) -> dict[int, tuple[Trace | None, ...]]:
        """The places of the axis to look at, and what ranks do there: with the others at the base, on the first and the last stage.

        Looked at are the ends and the middle, and then a place between each two neighbours that differ. Ranks that were simulated for
        other reasons do not count: what lies between them was not looked into.
        """
        size = self._grid.sizes[axis]
        seen: dict[int, tuple[Trace | None, ...]] = {}
        wanted = {_first(size), self._base[axis], _middle(size), _last(size)}
        while wanted and len(seen) < _MOST:
            for place in wanted:
                seen[place] = tuple(traces.get(rank) for rank in self._ranks_at(axis, place))
            if any(None in each for each in seen.values()):
                break
            wanted = {(one + other) // 2 for one, other in pairwise(sorted(seen)) if seen[one] != seen[other]} - seen.keys()
        return seen

    def _ranks_at(self, axis: int, place: int) -> list[int]:
        """The ranks on the first and the last stage that are at that place on one axis, and at the base on the others."""
        there = (place,) * len(self._grid.sizes)
        return [self._grid.moved(rank, [axis], there) for rank in (self._line[0], self._line[-1])]

    @property
    def grid(self) -> Grid:
        return self._grid

    @property
    def base(self) -> Place:
        return self._base

    @property
    def named(self) -> frozenset[int]:
        """Ranks that need not do what others in their place do."""
        return frozenset(self._named)

    @property
    def stages(self) -> frozenset[int]:
        """The axes on which every place does something else."""
        return self._stages

    @property
    def _others(self) -> list[int]:
        return [axis for axis in range(len(self._grid.sizes)) if axis not in self._stages]

    def _along_stages(self) -> Iterator[Place]:
        return product(*(range(size) if axis in self._stages else [self._base[axis]] for axis, size in enumerate(self._grid.sizes)))

    def _ranks_named(self, named: Iterable[NamedRank], ranks_per_node: int) -> set[int]:
        ranks: set[int] = set()
        for each in named:
            if each.axis == "local":
                ranks |= {each.number, ranks_per_node + each.number}
            elif each.axis in self._grid.names:
                axis = self._grid.names.index(each.axis)
                ranks |= set(self._ranks_at(axis, each.number)) if each.number < self._grid.sizes[axis] else set()
            else:
                ranks.add(each.number)
        return {rank for rank in ranks if rank < self._grid.size}


class _StandsFor:
    """Which rank stands for which, as far as the traces tell: places on an axis that do the same have one place that stands for them."""

    def __init__(self, plan: Representatives, traces: ByRank) -> None:
        self._plan = plan
        self._grid = plan.grid
        self._traces = traces
        self._places = [self._standing(axis) for axis in range(len(self._grid.sizes))]

    def like(self, rank: int) -> int:
        """The rank that stands for this one."""
        return self._grid.rank([places[here] for places, here in zip(self._places, self._grid.place(rank), strict=True)])

    def combinations(self) -> set[int]:
        """A rank for each combination of places that matter; none where these are too many."""
        choices = [sorted(set(places)) for places in self._places]
        stages = prod(len(choices[axis]) for axis in self._plan.stages)
        if prod(map(len, choices)) > max(_MOST, stages):
            return set()
        return {self._grid.rank(place) for place in product(*choices)}

    @property
    def refuted(self) -> list[int]:
        """Simulated ranks that do not do what the ones do that would have stood for them."""
        return [rank for rank in self._odd() if rank not in self._plan.named]

    def told(self, count: int) -> Iterator[Finding]:
        """What `count` ranks were assumed to do, and why."""
        if not count:
            return
        odd = self._odd()
        exceptions = f"rank{'s' * (len(odd) > 1)} {format_ranks(odd)} differ, and stand for themselves" if odd else "none did otherwise"
        yield Finding(
            code="ranks-assumed",
            severity=Severity.NOTE,
            message=f"{count} of {self._grid.size} ranks were not simulated: {', and '.join(self._alike())} ranks are taken to do the "
            f"same. {len(self._traces)} were, at corners and ends of the mesh and {_SPOT_CHECKS} chosen at random: {exceptions}.",
            hint="--ranks all simulates every rank.",
        )

    def _odd(self) -> list[int]:
        traces = self._traces
        return [rank for rank in sorted(traces) if traces.get(self.like(rank), traces[rank]) != traces[rank]]

    def _standing(self, axis: int) -> list[int]:
        """For each place on the axis the one that stands for it: the first that does the same, the base's own before others."""
        size, base = self._grid.sizes[axis], self._plan.base[axis]
        if axis in self._plan.stages:
            return list(range(size))
        seen = self._plan.looked_at(axis, self._traces)
        if any(None in each for each in seen.values()):
            return [base] * size  # nobody had reason to look
        if len(seen) >= _MOST:
            return list(range(size))
        first = {seen[base]: base}
        for place in sorted(seen):
            first.setdefault(seen[place], place)
        known = sorted(seen)
        standing = [first[seen[known[0]]]] * size
        for place, following in zip(known, [*known[1:], size], strict=True):
            standing[place:following] = [first[seen[place]]] * (following - place)
        return standing

    def _alike(self) -> Iterator[str]:
        """`along dp`, `within the parts 0-7, 8-31 of tp`."""
        for axis, (name, places) in enumerate(zip(self._grid.names, self._places, strict=True)):
            parts = [format_ranks(i for i, stands in enumerate(places) if stands == each) for each in sorted(set(places))]
            if axis not in self._plan.stages:
                yield f"along {name}" if len(parts) == 1 else f"within the parts {' / '.join(parts)} of {name}"


def _some_went_through(traces: ByRank) -> bool:
    """Where all ranks fail there is nothing to learn of others."""
    return any(trace[-1] is None for trace in traces.values())


def _nothing_assumed(ranks: Sequence[int], refuted: Iterable[int]) -> Iterator[Finding]:
    if not ranks:
        return
    others = format_ranks(refuted)
    why = f"ranks in their places do not all do the same as ranks {others}" if others else "simulated ones differ too much, or failed"
    yield Finding(
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


def _with(place: Sequence[int], axes: Iterable[int], other: Sequence[int]) -> Place:
    """`place`, on `axes` replaced by `other`."""
    return tuple(other[axis] if axis in axes else here for axis, here in enumerate(place))
