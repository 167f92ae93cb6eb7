"""Records of ranks that were not simulated: the schedule of their representative, on process groups of their own.

A group that fills a box of the mesh has a counterpart through every rank: on the axes on which all its members have one index, it is moved
to the rank's index. Other groups have no known counterpart; then there is no record of the rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fakerun.mesh import Coordinate, Mesh
from fakerun.records.run import RankRecord, RunRecord
from fakerun.records.schedule import ProcessGroup, RankCalls, calls_of

Members = tuple[int, ...]


def assumed_records(run: RunRecord) -> Iterator[RankRecord]:
    """A record of each assumed rank of the run whose groups are known, with the calls that it is assumed to make."""
    if run.mesh is None:
        return
    records = {record.rank: record for record in run.ranks}
    counterparts = _Counterparts(run, run.mesh)
    for each in run.assumed:
        representative = records[each.representative]
        calls = calls_of(representative.rank, representative.collectives)
        boxes = [counterparts.box(group) for group in calls.groups]
        for rank in each.ranks:
            groups = counterparts.of(rank, boxes)
            if groups is not None:
                yield replace(
                    representative,
                    rank=rank,
                    collectives=RankCalls(rank, calls.schedule, groups),
                    findings=(),
                    blocked=representative.blocked and replace(representative.blocked, waits_for=()),
                )


class _Counterparts:
    """The counterparts of groups through other ranks. A group that a simulated rank is in, too, has the name that it has there."""

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
        """The counterparts of the groups of these boxes through `rank`; None if one of them is not known."""
        coordinate = self._mesh.coordinate(rank)
        found = [box.through(coordinate) for box in boxes]
        return None if None in found else tuple(group for group in found if group is not None)

    def box(self, group: ProcessGroup) -> "_Box":
        """The group as the box that it fills."""
        if group not in self._boxes:
            self._boxes[group] = _Box(self._mesh, group, self._names)
        return self._boxes[group]


class _Box:
    """A group that fills a box of the mesh."""

    def __init__(self, mesh: Mesh, group: ProcessGroup, names: Mapping[Members, Sequence[str]]) -> None:
        self._mesh = mesh
        self._group = group
        self._names = names
        self._fixed_axes = mesh.constant_axes(group.ranks)
        self._indices = [{mesh.coordinate(rank)[axis] for rank in group.ranks} for axis in range(len(mesh.sizes))]
        self._moved: dict[Coordinate, ProcessGroup] = {}

    def through(self, coordinate: Coordinate) -> ProcessGroup | None:
        """The counterpart that contains the rank at that coordinate; None if there is none."""
        inside = zip(coordinate, self._indices, strict=True)
        if any(axis not in self._fixed_axes and index not in indices for axis, (index, indices) in enumerate(inside)):
            return None
        key = tuple(coordinate[axis] for axis in self._fixed_axes)
        if key not in self._moved:
            ranks = tuple(self._mesh.moved(rank, self._fixed_axes, coordinate) for rank in self._group.ranks)
            self._moved[key] = ProcessGroup(label=self._group.label, name=self._name(ranks), ranks=ranks)
        return self._moved[key]

    def _name(self, ranks: Members) -> str:
        """The name of the group of `ranks` that was created when this group was created for others."""
        names = self._names.get(ranks, [])
        order = self._names[self._group.ranks].index(self._group.name)
        return names[order] if order < len(names) else f"{self._group.name} for {ranks[0]}"
