"""Landmarks of a grid of ranks: the line along which all pipeline stages lie, the corners, and the places of one axis by itself."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from fakerun.analysis.grid import Grid, Place

_EVERY_PLACE = frozenset({"pp", "pipe", "pipeline", "stage", "stages"})
"""Axes on which every place does something else."""


class Landmarks:
    """Of the grid with these axes.

    The `base` is a place on each axis but those of stages. It is the second one: at the first rank 0 logs, saves and prints.
    """

    def __init__(self, axes: Mapping[str, int]) -> None:
        self.grid = Grid(axes)
        self.stages = frozenset(axis for axis, name in enumerate(axes) if name in _EVERY_PLACE)
        self.others = [axis for axis in range(len(axes)) if axis not in self.stages]
        self.base: Place = tuple(0 if axis in self.stages else min(1, size - 1) for axis, size in enumerate(self.grid.sizes))
        along = product(*(range(size) if axis in self.stages else [self.base[axis]] for axis, size in enumerate(self.grid.sizes)))
        self.line = [self.grid.rank(place) for place in along]
        """All stages, with the other axes at the base."""

    def on_line(self, rank: int) -> int:
        """The rank at the same stage on the line."""
        return self.grid.moved(rank, self.others, self.base)

    def at(self, axis: int, place: int) -> list[int]:
        """The ranks on the first and the last stage that are at that place on one axis, and at the base on the others."""
        there = (place,) * len(self.grid.sizes)
        return [self.grid.moved(rank, [axis], there) for rank in (self.line[0], self.line[-1])]

    def ends(self, axis: int) -> set[int]:
        """The places of an axis that are looked at first: its ends, its middle and the base."""
        size = self.grid.sizes[axis]
        return {0, self.base[axis], size // 2, size - 1}

    def corners(self) -> set[int]:
        """The first rank, the last, the one in the middle; and where all axes but the stages are at the other end."""
        first, middle, last = ([at(size) for size in self.grid.sizes] for at in (_first, _middle, _last))
        places = (first, middle, last, _with(first, self.stages, last), _with(last, self.stages, first))
        return {self.grid.rank(place) for place in places}


def _first(size: int) -> int:
    return 0


def _middle(size: int) -> int:
    return size // 2


def _last(size: int) -> int:
    return size - 1


def _with(place: Sequence[int], axes: Iterable[int], other: Sequence[int]) -> Place:
    """`place`, on `axes` replaced by `other`."""
    return tuple(other[axis] if axis in axes else here for axis, here in enumerate(place))
