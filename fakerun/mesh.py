"""Mesh: the axes of a device mesh, and the coordinates, groups along an axis and boxes of ranks that follow from them.

The only owner of rank geometry. Ranks are in row-major order, the last axis varying fastest, as in `init_device_mesh`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fakerun.units import format_ranks

Coordinate = tuple[int, ...]
"""The index of a rank on every axis, outermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Axis names and sizes, outermost first."""

    axes: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> "Mesh":
        """The mesh with these sizes by axis, outermost first."""
        return Mesh(axes=tuple(sizes), sizes=tuple(sizes.values()))

    @property
    def world_size(self) -> int:
        return prod(self.sizes)

    def by_axis(self, indices: Iterable[int]) -> dict[str, int]:
        """Sizes or a coordinate by axis."""
        return dict(zip(self.axes, indices, strict=True))

    def coordinate(self, rank: int) -> Coordinate:
        """The index of the rank on every axis."""
        indices = []
        for size in reversed(self.sizes):
            rank, index = divmod(rank, size)
            indices.append(index)
        return tuple(reversed(indices))

    def rank_at(self, coordinate: Sequence[int]) -> int:
        """The rank with this coordinate."""
        rank = 0
        for index, size in zip(coordinate, self.sizes, strict=True):
            rank = rank * size + index
        return rank

    def moved(self, rank: int, axes: Iterable[int], to: Sequence[int]) -> int:
        """The rank with the coordinate of `rank`, except on the axes with these numbers, where it is that of `to`."""
        replaced = frozenset(axes)
        return self.rank_at([to[axis] if axis in replaced else index for axis, index in enumerate(self.coordinate(rank))])

    def group(self, axis: int, rank: int) -> tuple[int, ...]:
        """The ranks that differ from `rank` only on the axis with this number, ascending and including `rank`."""
        return tuple(self.line(axis, rank))

    def groups(self, rank: int) -> dict[str, tuple[int, ...]]:
        """The rank's group along each axis, by the axis's name."""
        return {axis: self.group(number, rank) for number, axis in enumerate(self.axes)}

    def constant_axes(self, ranks: Iterable[int]) -> tuple[int, ...]:
        """The numbers of the axes on which all given ranks have the same index."""
        return tuple(axis for axis, indices in enumerate(self._indices(ranks)) if len(indices) == 1)

    def is_box(self, ranks: Sequence[int]) -> bool:
        """Whether the ranks are the product of a set of indices on each axis."""
        return prod(map(len, self._indices(ranks))) == len(ranks)

    def translations(self, ranks: Sequence[int]) -> list[int]:
        """What to add to the ranks to move them, on the axes on which they all have the same index, to every index; ascending."""
        coordinate = self.coordinate(ranks[0])
        found = [0]
        for axis in self.constant_axes(ranks):
            stride = prod(self.sizes[axis + 1 :])
            found = [shift + (index - coordinate[axis]) * stride for shift in found for index in range(self.sizes[axis])]
        return found

    def shift_along(self, axes: Sequence[int], start: int) -> Callable[[int], int]:
        """What to add to the rank `start` to move it, on these axes, to the index of the rank that is passed."""
        on_axes = [(prod(self.sizes[axis + 1 :]), self.sizes[axis]) for axis in axes]
        origin = self.coordinate(start)
        offset = sum(origin[axis] * stride for axis, (stride, _) in zip(axes, on_axes, strict=True))
        return lambda rank: sum(rank // stride % size * stride for stride, size in on_axes) - offset

    def indices_on(self, axis: int) -> list[int]:
        """The index of every rank on the axis with this number."""
        stride = prod(self.sizes[axis + 1 :])
        indices = [index for index in range(self.sizes[axis]) for _ in range(stride)]
        return indices * (self.world_size // len(indices))

    def line(self, axis: int, rank: int) -> range:
        """The ranks that differ from `rank` only on the axis with this number, ascending and including `rank`."""
        stride = prod(self.sizes[axis + 1 :])
        first = rank - rank // stride % self.sizes[axis] * stride
        return range(first, first + self.sizes[axis] * stride, stride)

    def box(self, ranks: Sequence[int]) -> str:
        """The smallest box that contains the ranks: `pp=0, dp=1-127`; `all` for the whole mesh; `part of ...` if it contains others too.

        Axes on which the ranks have every index are omitted.
        """
        indices = self._indices(ranks)
        bounds = [
            f"{axis}={format_ranks(here)}" for axis, here, size in zip(self.axes, indices, self.sizes, strict=True) if len(here) < size
        ]
        box = ", ".join(bounds) or "all"
        return box if self.is_box(ranks) else f"part of {box}"

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in zip(self.axes, self.sizes, strict=True))

    def _indices(self, ranks: Iterable[int]) -> list[set[int]]:
        indices: list[set[int]] = [set() for _ in self.sizes]
        for rank in ranks:
            for axis, index in enumerate(self.coordinate(rank)):
                indices[axis].add(index)
        return indices


def mesh_in_effect(requested: Mesh | None, created: Iterable[Mesh | None]) -> Mesh | None:
    """The mesh that names the groups of a job: the first one that the script creates, as its axis names are the user's.

    If the job requests a mesh, the first one of the requested sizes; if the script creates none of these, the requested mesh.
    """
    own = next((mesh for mesh in created if mesh is not None and (requested is None or mesh.sizes == requested.sizes)), None)
    return own if own is not None or requested is None else Mesh(axes=requested.axes, sizes=requested.sizes)
