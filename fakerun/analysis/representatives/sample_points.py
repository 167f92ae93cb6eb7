"""The sample points of a mesh: one rank of each pipeline stage, the corners, and the ranks along each other axis."""

from collections.abc import Sequence
from functools import cached_property
from itertools import product

from fakerun.mesh import Coordinate, Mesh

_STAGE_AXES = frozenset({"pp", "pipe", "pipeline", "stage", "stages"})
"""Axes on which the rank at every index does something else."""


class SamplePoints:
    """The sample points of a mesh.

    `base` has an index on each axis; on axes without stages it is the second one, because rank 0 logs, saves and prints. `stage_ranks` are
    the ranks of all stages that are at the base on the other axes. `probes` are the first, the middle and the last of them: what is found
    there along the other axes is assumed for the first stage, those between, and the last one.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.stage_axes = frozenset(axis for axis, name in enumerate(mesh.axes) if name in _STAGE_AXES)
        self.other_axes = [axis for axis in range(len(mesh.axes)) if axis not in self.stage_axes]
        self.base: Coordinate = tuple(0 if axis in self.stage_axes else min(1, size - 1) for axis, size in enumerate(mesh.sizes))
        stages = product(*(range(size) if axis in self.stage_axes else [self.base[axis]] for axis, size in enumerate(mesh.sizes)))
        self.stage_ranks = [mesh.rank_at(coordinate) for coordinate in stages]
        self.probes = sorted({self.stage_ranks[0], self.stage_ranks[len(self.stage_ranks) // 2], self.stage_ranks[-1]})

    def stage_rank(self, rank: int) -> int:
        """The one of `stage_ranks` that is on the same stage."""
        return self.mesh.moved(rank, self.other_axes, self.base)

    def probe(self, rank: int) -> int:
        """The number of the probe whose stage the rank's stage is assumed to match."""
        stage_rank = self.stage_rank(rank)
        return self.probes.index(stage_rank) if stage_rank in (self.probes[0], self.probes[-1]) else len(self.probes) // 2

    @cached_property
    def probe_of_ranks(self) -> Sequence[int]:
        """By rank what `probe` returns."""
        if len(self.probes) == 1:
            return [0] * self.mesh.world_size
        axes = sorted(self.stage_axes)
        by_stage = {tuple(self.mesh.coordinate(rank)[axis] for axis in axes): self.probe(rank) for rank in self.stage_ranks}
        return [by_stage[stage] for stage in zip(*map(self.mesh.indices_on, axes), strict=True)]

    def corners(self) -> set[int]:
        """The first rank, the last one, and the one in the middle of every axis."""
        sizes = self.mesh.sizes
        middle = self.mesh.rank_at([size // 2 for size in sizes])
        return {0, middle, self.mesh.world_size - 1}

    def inner_neighbour(self, rank: int, other: int) -> int | None:
        """If two ranks differ on one axis only, and `rank` is at an end of it: its neighbour on that axis. Else None."""
        coordinate, other_coordinate = self.mesh.coordinate(rank), self.mesh.coordinate(other)
        axes = [axis for axis, (own, theirs) in enumerate(zip(coordinate, other_coordinate, strict=True)) if own != theirs]
        if len(axes) != 1 or coordinate[axes[0]] not in (0, self.mesh.sizes[axes[0]] - 1):
            return None
        step = 1 if coordinate[axes[0]] == 0 else -1
        return self.mesh.moved(rank, axes, [index + step for index in coordinate])
