"""Landmarks of a grid of ranks: the line along which all pipeline stages lie, the corners, and the places of one axis by itself."""

from itertools import product

from fakerun.mesh import Coordinate, Mesh

_EVERY_PLACE = frozenset({"pp", "pipe", "pipeline", "stage", "stages"})
"""Axes on which every place does something else."""


class Landmarks:
    """Of the grid with these axes.

    The `base` is a place on each axis but those of stages. It is the second one: at the first rank 0 logs, saves and prints. `line` has
    all stages, with the other axes at the base; `lookouts` are its first, middle and last rank: what is seen there of the other axes is
    taken to hold on the first stage, on the last one, and on those between.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.stages = frozenset(axis for axis, name in enumerate(mesh.axes) if name in _EVERY_PLACE)
        self.others = [axis for axis in range(len(mesh.axes)) if axis not in self.stages]
        self.base: Coordinate = tuple(0 if axis in self.stages else min(1, size - 1) for axis, size in enumerate(self.mesh.sizes))
        along = product(*(range(size) if axis in self.stages else [self.base[axis]] for axis, size in enumerate(self.mesh.sizes)))
        self.line = [self.mesh.rank_at(place) for place in along]
        self.lookouts = sorted({self.line[0], self.line[len(self.line) // 2], self.line[-1]})

    def on_line(self, rank: int) -> int:
        """The rank at the same stage on the line."""
        return self.mesh.moved(rank, self.others, self.base)

    def lookout(self, rank: int) -> int:
        """Which of the lookouts the rank's stage is like, by number."""
        on_line = self.on_line(rank)
        return self.lookouts.index(on_line) if on_line in (self.lookouts[0], self.lookouts[-1]) else len(self.lookouts) // 2

    def at(self, lookout: int, axis: int, place: int) -> int:
        """The rank at a place on one axis, and otherwise where the lookout is."""
        return self.mesh.moved(self.lookouts[lookout], [axis], (place,) * len(self.mesh.sizes))

    def corners(self) -> set[int]:
        """The first rank, the last, and the one in the middle."""
        return {self.mesh.rank_at([at(size) for size in self.mesh.sizes]) for at in (_first, _middle, _last)}

    def beside(self, rank: int, other: int) -> int | None:
        """Where two ranks differ in their places on one axis alone, and the first is at an end of it: the one before it."""
        place, towards = self.mesh.coordinate(rank), self.mesh.coordinate(other)
        axes = [axis for axis, (here, there) in enumerate(zip(place, towards, strict=True)) if here != there]
        if len(axes) != 1 or place[axes[0]] not in (0, self.mesh.sizes[axes[0]] - 1):
            return None
        step = 1 if place[axes[0]] == 0 else -1
        return self.mesh.moved(rank, axes, [here + step for here in place])


def _first(size: int) -> int:
    return 0


def _middle(size: int) -> int:
    return size // 2


def _last(size: int) -> int:
    return size - 1
