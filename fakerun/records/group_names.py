"""Names process groups as a user knows them: by mesh axis."""

import re
from collections.abc import Mapping

from fakerun.mesh import Mesh, mesh_in_effect

_MESH_PREFIX = "mesh_"
"""How torch's DeviceMesh describes the group of an axis: `mesh_tp`."""
_UNNAMED_AXIS = re.compile(r"dim_\d+")
"""What it calls an axis that the script gave no name."""


class GroupNames:
    """The meshes of this rank, and the name that each of its process groups goes by.

    A group is named after the mesh axis it was made for, else the axis whose ranks it has, else "world" for all ranks, else by torch's
    description; it has no name otherwise. Axes of the script's meshes go before those of `asked`, the mesh that the job asks for.
    """

    def __init__(self, rank: int, world_size: int, asked: Mesh | None = None) -> None:
        self._world = tuple(range(world_size))
        self._asked = asked
        self._asked_axes = {} if asked is None else {ranks: axis for axis, ranks in asked.groups(rank).items() if len(ranks) > 1}
        self._made: list[Mesh | None] = []
        self._axes: dict[tuple[int, ...], str] = {}
        self._names: set[str] = set()

    @property
    def mesh(self) -> Mesh | None:
        """The mesh in effect."""
        return mesh_in_effect(self._asked, self._made)

    def add_mesh(self, mesh: Mesh | None, groups: Mapping[str, tuple[int, ...]]) -> None:
        """Learn a mesh that the script made: this rank's group on each axis; `mesh` is None where it does not hold all ranks in order."""
        self._made.append(mesh)
        self._names.update(groups)
        for axis, ranks in groups.items():
            if len(ranks) > 1:
                self._axes.setdefault(ranks, axis)

    def name(self, ranks: tuple[int, ...], description: str) -> str | None:
        """What to call the group of `ranks` that torch describes so; None if it has no name."""
        made_for = description.removeprefix(_MESH_PREFIX)
        if (made_for in self._names or made_for != description) and not _UNNAMED_AXIS.fullmatch(made_for):
            return made_for
        axis = self._axes.get(ranks) or self._asked_axes.get(ranks)
        if axis is not None:
            return axis
        if ranks == self._world:
            return "world"
        return made_for if description and description not in ("undefined", "default_pg") else None
