"""Records of ranks that were not simulated: the schedule of their representative, on process groups of their own.

The counterpart of a group, for a rank that is not in it: of a group that fills a box of the mesh, the same box moved to the rank's index on
the axes on which all its members have one index; of any other group the one that the same line creates with the rank in it. A group that
all ranks create must exist. If a counterpart is not known, there is no record of the rank.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from operator import add

from fakerun.analysis.representatives.created_groups import CreatedGroups
from fakerun.mesh import Mesh
from fakerun.records.run import AssumedRanks, RankRecord, RunRecord
from fakerun.records.schedule import ProcessGroup, RankCalls, calls_of

Members = tuple[int, ...]


def assumed_records(run: RunRecord) -> Iterator[RankRecord]:
    """A record of each assumed rank of the run whose groups are known, with the calls that it is assumed to make."""
    if run.mesh is None:
        return
    counterparts = Counterparts(run.ranks, run.mesh)
    records = {record.rank: record for record in run.ranks}
    for each in run.assumed:
        representative = records[each.representative]
        calls = calls_of(representative.rank, representative.collectives)
        for rank, groups in counterparts.of(each):
            if groups is not None:
                yield replace(
                    representative,
                    rank=rank,
                    collectives=RankCalls(rank, calls.schedule, groups),
                    findings=(),
                    blocked=representative.blocked and replace(representative.blocked, waits_for=()),
                )


class Counterparts:
    """The counterparts of the groups that simulated ranks use. One that a simulated rank uses, too, has the name that it has there."""

    def __init__(self, ranks: Sequence[RankRecord], mesh: Mesh) -> None:
        self._mesh = mesh
        self._created = CreatedGroups(ranks, mesh.world_size)
        self._calls = {record.rank: calls_of(record.rank, record.collectives) for record in ranks}
        self._boxes: dict[ProcessGroup, _Group] = {}
        self._names = _Names(group for calls in self._calls.values() for group in calls.groups)

    def of(self, assumed: AssumedRanks) -> Iterator[tuple[int, tuple[ProcessGroup, ...] | None]]:
        """Each of the ranks, with the counterparts of its representative's groups; None if one of them is not known."""
        groups = [self._group(group) for group in self._calls[assumed.representative].groups]
        for rank in assumed.ranks:
            found = tuple(group.through(rank) for group in groups)
            yield rank, None if None in found else found  # type: ignore[misc]  # mypy does not see that None is not in it

    def unknown(self, assumed: Iterable[AssumedRanks]) -> set[int]:
        """Those of the ranks for which a counterpart is not known."""
        in_question = (each for each in assumed if not self._are_everywhere(each.representative))
        return {rank for each in in_question for rank, groups in self.of(each) if groups is None}

    def _are_everywhere(self, representative: int) -> bool:
        """Whether each group that this rank uses has a counterpart through every rank of the world."""
        return all(self._group(group).is_everywhere for group in self._calls[representative].groups)

    def _group(self, group: ProcessGroup) -> "_Group":
        if group not in self._boxes:
            self._boxes[group] = _Group(self._mesh, group, self._created, self._names)
        return self._boxes[group]


class _Names:
    """The names of groups: c10d's, and for groups that no simulated rank uses one that depends only on their ranks."""

    def __init__(self, groups: Iterable[ProcessGroup]) -> None:
        self._by_members: dict[Members, list[str]] = {}
        for group in groups:
            names = self._by_members.setdefault(group.ranks, [])
            if group.name not in names:
                names.append(group.name)
        self._numbers: dict[Members, int] = {}

    def counterpart(self, group: ProcessGroup, members: Members) -> str:
        """The name of the group of `members` that was created when `group` was created for others."""
        order = self._by_members[group.ranks].index(group.name)
        names = self._by_members.get(members, [])
        if order < len(names):
            return names[order]
        number = self._numbers.setdefault(members, len(self._numbers))
        return f"{group.label or 'group'} {order} of assumed ranks {number}"


class _Group:
    """A group that a simulated rank uses, and its counterparts."""

    def __init__(self, mesh: Mesh, group: ProcessGroup, created: CreatedGroups, names: _Names) -> None:
        self._mesh = mesh
        self._group = group
        self._members = frozenset(group.ranks)
        self._created = created
        self._names = names
        self._is_created = created.exists(group.ranks)
        self._is_box = mesh.is_box(group.ranks)
        self._shift = mesh.shift_along(mesh.constant_axes(group.ranks), group.ranks[0])
        self._moved: dict[int, ProcessGroup | None] = {}
        self._by_members: dict[Members, ProcessGroup] = {}

    @property
    def is_everywhere(self) -> bool:
        """Whether every rank has a counterpart, as far as can be told without looking for it."""
        if len(self._members) == self._mesh.world_size:
            return True
        shifts = self._mesh.translations(self._group.ranks) if self._is_box else []
        if len(shifts) * len(self._members) < self._mesh.world_size:
            return False
        return not self._is_created or all(self._created.exists(tuple(map(add, self._group.ranks, repeat(shift)))) for shift in shifts)

    def through(self, rank: int) -> ProcessGroup | None:
        """The counterpart that contains the rank; None if it is not known."""
        if rank in self._members:
            return self._group
        moved = self._box_through(rank) if self._is_box else None
        return self._of_its_kind(rank) if moved is None and self._is_created else moved

    def _box_through(self, rank: int) -> ProcessGroup | None:
        shift = self._shift(rank)
        if rank - shift not in self._members:
            return None
        if shift not in self._moved:
            members = tuple(map(add, self._group.ranks, repeat(shift)))
            self._moved[shift] = self._named(members) if not self._is_created or self._created.exists(members) else None
        return self._moved[shift]

    def _of_its_kind(self, rank: int) -> ProcessGroup | None:
        members = self._created.of_the_kind(self._group.ranks, rank)
        if members is None:
            return None
        if members not in self._by_members:
            self._by_members[members] = self._named(members)
        return self._by_members[members]

    def _named(self, members: Members) -> ProcessGroup:
        return ProcessGroup(label=self._group.label, name=self._names.counterpart(self._group, members), ranks=members)
