"""What ranks would have done that were not simulated: the schedule of the rank that they are taken to be like, on groups of their own.

A group that fills a box of the grid has its like through every rank: the axes along which it has one place alone are moved to the rank's
place. Other groups have no like that could be told, and then nothing is said of the rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fakerun.mesh import Mesh
from fakerun.records.run import RankRecord, RunRecord
from fakerun.records.schedule import Calls, ProcessGroup, calls_of

Members = tuple[int, ...]


def assumed_records(run: RunRecord) -> Iterator[RankRecord]:
    """A record of each assumed rank of the run that can be told, with the calls that it is taken to make."""
    records = {record.rank: record for record in run.ranks}
    if run.mesh is None:
        return
    groups = _GroupsAlike(run, run.mesh)
    for each in run.assumed:
        like = records[each.representative]
        calls = calls_of(like.rank, like.collectives)
        boxes = [groups.box(group) for group in calls.groups]
        for rank in each.ranks:
            moved = groups.of(rank, boxes)
            if moved is not None:
                yield replace(like, rank=rank, collectives=Calls(rank, calls.schedule, moved), findings=())


class _GroupsAlike:
    """Groups through other ranks. Those that a simulated rank is in, too, go by the name that it has for them."""

    def __init__(self, run: RunRecord, mesh: Mesh) -> None:
        self._mesh = mesh
        self._boxes: dict[ProcessGroup, _Box] = {}
        self._names: dict[Members, list[str]] = {}
        for record in run.ranks:
            for group in calls_of(record.rank, record.collectives).groups:
                names = self._names.setdefault(group.ranks, [])
                if group.name not in names:
                    names.append(group.name)

    def of(self, rank: int, boxes: Sequence["_Box"]) -> tuple[ProcessGroup, ...] | None:
        """The groups of `rank` in place of those that the boxes are of; None if they cannot be told."""
        place = self._mesh.coordinate(rank)
        found = [box.through(place) for box in boxes]
        return None if None in found else tuple(group for group in found if group is not None)

    def box(self, group: ProcessGroup) -> "_Box":
        """The group as the box that it fills."""
        if group not in self._boxes:
            self._boxes[group] = _Box(self._mesh, group, self._names)
        return self._boxes[group]


class _Box:
    """A group that fills a box of the grid: `through` gives the one alike through another place."""

    def __init__(self, mesh: Mesh, group: ProcessGroup, names: Mapping[Members, Sequence[str]]) -> None:
        self._mesh = mesh
        self._group = group
        self._names = names
        self._fixed = mesh.constant_axes(group.ranks)
        self._inside = [{mesh.coordinate(rank)[axis] for rank in group.ranks} for axis in range(len(mesh.sizes))]
        self._moved: dict[tuple[int, ...], ProcessGroup] = {}

    def through(self, place: Sequence[int]) -> ProcessGroup | None:
        """The group alike that a rank at `place` is in; None if there is none."""
        if any(axis not in self._fixed and here not in inside for axis, (here, inside) in enumerate(zip(place, self._inside, strict=True))):
            return None
        key = tuple(place[axis] for axis in self._fixed)
        if key not in self._moved:
            ranks = tuple(self._mesh.moved(rank, self._fixed, place) for rank in self._group.ranks)
            self._moved[key] = ProcessGroup(label=self._group.label, name=self._name(ranks), ranks=ranks)
        return self._moved[key]

    def _name(self, ranks: Members) -> str:
        """The name of the group of `ranks` that was made when this group was made for others."""
        names = self._names.get(ranks, [])
        order = self._names[self._group.ranks].index(self._group.name)
        return names[order] if order < len(names) else f"{self._group.name} for {ranks[0]}"
