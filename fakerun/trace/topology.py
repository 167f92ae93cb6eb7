"""The process groups and meshes of a rank, as far as the report needs them."""

from collections.abc import Mapping, Sequence

from fakerun.mesh import Mesh
from fakerun.records.group_creations import GroupCreations
from fakerun.records.group_names import GroupNames
from fakerun.records.journal import Event, Journal
from fakerun.trace.collectives import CollectiveTrace
from fakerun.trace.program_point import ProgramPoint


class TopologyTrace:
    """Records which groups the script makes, and names them by the axes of its meshes.

    Implements `TopologyObserver` (fakerun.records.observer).
    """

    def __init__(self, point: ProgramPoint, groups: GroupNames, collectives: CollectiveTrace, journal: Journal) -> None:
        self._journal = journal
        self._point = point
        self._groups = groups
        self._collectives = collectives
        self.group_creations = GroupCreations()
        self.is_distributed = False
        """Whether the script initialised torch.distributed at any time."""

    def process_group_created(self) -> None:
        self.is_distributed = True

    def groups_created(self, groups: Sequence[tuple[int, ...]], callers: tuple[int, ...] | None) -> None:
        before, call_site = len(self._collectives), self._point.call_site()
        self.group_creations.add(groups, callers, before, call_site)
        self._journal.event(Event.GROUPS_CREATED, tuple(groups), callers, before, call_site)

    def mesh_created(self, mesh: Mesh | None, groups: Mapping[str, tuple[int, ...]]) -> None:
        self._groups.add_mesh(mesh, groups)
        self._journal.event(Event.MESH, mesh, dict(groups))
