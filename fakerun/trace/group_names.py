"""Names process groups as a user knows them: by mesh axis."""

import re
from collections.abc import Mapping

from fakerun.records.schedule import ranks_label

_MESH_PREFIX = "mesh_"
"""How torch's DeviceMesh describes the group of an axis: `mesh_tp`."""
_UNNAMED_AXIS = re.compile(r"dim_\d+")
"""What it calls an axis that the script gave no name."""


class GroupNames:
    """The mesh axes of this rank, and the group each of its communications goes by.

    A group is named after the mesh axis it was made for, else the axis whose ranks it has, else "world" for all ranks, else by torch's
    description, else by its ranks.
    """

    def __init__(self, world_size: int) -> None:
        self._world = tuple(range(world_size))
        self._axes: dict[tuple[int, ...], str] = {}
        self._names: set[str] = set()
        self.sizes: dict[str, int] = {}

    def add_mesh(self, sizes: Mapping[str, int], groups: Mapping[str, tuple[int, ...]]) -> None:
        """Learn a mesh: sizes of its axes in order, and this rank's group on each. The first mesh is the job's."""
        if not self.sizes:
            self.sizes = dict(sizes)
        self._names.update(groups)
        for axis, ranks in groups.items():
            if len(ranks) > 1:
                self._axes.setdefault(ranks, axis)

    def coordinate(self, rank: int) -> dict[str, int]:
        """Where `rank` sits on the job's mesh; ranks are laid out in row-major order."""
        coordinate: dict[str, int] = {}
        for axis, size in reversed(self.sizes.items()):
            rank, coordinate[axis] = divmod(rank, size)
        return {axis: coordinate[axis] for axis in self.sizes}

    def name(self, ranks: tuple[int, ...], description: str) -> str:
        """What to call the group of `ranks` that torch describes so."""
        made_for = description.removeprefix(_MESH_PREFIX)
        if (made_for in self._names or made_for != description) and not _UNNAMED_AXIS.fullmatch(made_for):
            return made_for
        axis = self._axes.get(ranks)
        if axis is not None:
            return axis
        if ranks == self._world:
            return "world"
        if description and description not in ("undefined", "default_pg"):
            return made_for
        return ranks_label(ranks)
