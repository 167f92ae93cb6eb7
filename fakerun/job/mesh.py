"""MeshSpec: the axes of a device mesh, and where each rank sits on it."""

from dataclasses import dataclass
from math import prod

DEFAULT_AXES = {1: ("dp",), 2: ("dp", "tp"), 3: ("pp", "dp", "tp")}
"""Names for a mesh given by sizes alone, outermost first, by number of axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSpec:
    """Axis names and sizes, outermost first; ranks are laid out in row-major order, as `init_device_mesh` does.

    `named` tells whether the user named the axes; when not, the names are `DEFAULT_AXES` and give way to the script's own.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    named: bool

    @property
    def world_size(self) -> int:
        return prod(self.sizes)

    def coordinate(self, rank: int) -> dict[str, int]:
        """The rank's index on every axis."""
        coordinate: dict[str, int] = {}
        for axis, size in zip(reversed(self.axes), reversed(self.sizes), strict=True):
            rank, coordinate[axis] = divmod(rank, size)
        return {axis: coordinate[axis] for axis in self.axes}

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in zip(self.axes, self.sizes, strict=True))
