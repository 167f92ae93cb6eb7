"""What ranks would have done that were not simulated: the schedule of the rank that they are taken to be like, on groups of their own.

A group that fills a box of the grid has its like through every rank: the axes along which it has one place alone are moved to the rank's
place. Other groups have no like that could be told, and then nothing is said of the rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fakerun.analysis.grid import Grid
from fakerun.records.run import RankRecord, RunRecord
from fakerun.records.schedule import Calls, ProcessGroup, calls_of, ranks_label

Members = tuple[int, ...]


def assumed_records(run: RunRecord) -> Iterator[RankRecord]:
    """A record of each assumed rank of the run that can be told, with the calls that it is taken to make."""
    records = {record.rank: record for record in run.ranks}
    groups = _GroupsAlike(run)
    for each in run.assumed:
        like = records[each.like]
        calls = calls_of(like.rank, like.collectives)
        for rank in each.ranks:
            moved = groups.of(rank, like.rank, calls.groups)
            if moved is not None:
                yield replace(like, rank=rank, collectives=Calls(rank, calls.schedule, moved), findings=(), coordinate={})


class _GroupsAlike:
    """Groups through other ranks. Those that a simulated rank is in, too, go by the name that it has for them."""

    def __init__(self, run: RunRecord) -> None:
        self._grid = Grid(run.grid)
        self._moved: dict[tuple[Members, Sequence[int]], Members | None] = {}
        self._names: dict[Members, list[str]] = {}
        for record in run.ranks:
            for group in calls_of(record.rank, record.collectives).groups:
                names = self._names.setdefault(group.ranks, [])
                if group.name not in names:
                    names.append(group.name)

    def of(self, rank: int, like: int, groups: Sequence[ProcessGroup]) -> tuple[ProcessGroup, ...] | None:
        """The groups of `rank` in place of those of the rank `like`; None if they cannot be told."""
        found = []
        for group in groups:
            ranks = self._through(rank, group.ranks)
            if ranks is None or rank not in ranks:
                return None
            label = ranks_label(ranks) if group.label == ranks_label(group.ranks) else group.label
            found.append(ProcessGroup(label=label, name=self._name(group, ranks), ranks=ranks))
        return tuple(found)

    def _through(self, rank: int, ranks: Members) -> Members | None:
        fixed = self._grid.axes_with_one_place(ranks)
        place = self._grid.place(rank)
        key = ranks, tuple(place[axis] for axis in fixed)
        if key not in self._moved:
            self._moved[key] = tuple(self._grid.moved(each, fixed, place) for each in ranks)
        return self._moved[key]

    def _name(self, group: ProcessGroup, ranks: Members) -> str:
        """The name of the group of `ranks` that was made when `group` was made for others."""
        if ranks == group.ranks:
            return group.name
        names = self._names.get(ranks, [])
        order = self._names[group.ranks].index(group.name)
        return names[order] if order < len(names) else f"{group.name} for {ranks[0]}"
