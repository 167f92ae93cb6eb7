"""The grid that ranks lie on: places along named axes, in row-major order, the last axis next to next."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from fakerun.units import format_ranks

Place = tuple[int, ...]


class Grid:
    """`sizes` maps axis to size, as a mesh does."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.names = tuple(sizes)
        self.sizes = tuple(sizes.values())
        self.size = prod(self.sizes)

    def place(self, rank: int) -> Place:
        """Where the rank is, by axis."""
        place = []
        for size in reversed(self.sizes):
            rank, here = divmod(rank, size)
            place.append(here)
        return tuple(reversed(place))

    def rank(self, place: Sequence[int]) -> int:
        """The rank at the place."""
        rank = 0
        for here, size in zip(place, self.sizes, strict=True):
            rank = rank * size + here
        return rank

    def moved(self, rank: int, axes: Sequence[int], to: Sequence[int]) -> int:
        """The rank where `rank` is, but on `axes` where `to` is."""
        return self.rank([to[axis] if axis in axes else here for axis, here in enumerate(self.place(rank))])

    def axes_with_one_place(self, ranks: Iterable[int]) -> tuple[int, ...]:
        """The axes along which the ranks are all at one place."""
        places = self._places(ranks)
        return tuple(axis for axis, here in enumerate(places) if len(here) == 1)

    def box(self, ranks: Sequence[int]) -> str:
        """The smallest box that has the ranks in it: `pp=0, dp=1-127`; `all` for the whole grid; `part of ...` if it has others too.

        Axes along which they have every place are left out.
        """
        places = self._places(ranks)
        partly = [
            f"{name}={format_ranks(here)}" for name, here, size in zip(self.names, places, self.sizes, strict=True) if len(here) < size
        ]
        box = ", ".join(partly) or "all"
        return box if prod(map(len, places)) == len(ranks) else f"part of {box}"

    def _places(self, ranks: Iterable[int]) -> list[set[int]]:
        places: list[set[int]] = [set() for _ in self.sizes]
        for rank in ranks:
            for axis, here in enumerate(self.place(rank)):
                places[axis].add(here)
        return places
