"""The simulated ranks of a run and the process groups that they share. Ranks with equal schedules share one `UniqueSchedule`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord
from fakerun.records.schedule import RankCalls, Schedule, ScheduledCall, calls_of


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of p2p communication as one side sees it. The peer's group rank is `peer_offset` more, modulo the size of the group.

    `tag` is None on NCCL, which has no tags.
    """

    peer_offset: int
    is_send: bool
    tag: int | None

    def reverse(self, group_size: int) -> "Direction":
        """The same direction as the peer sees it."""
        return Direction(-self.peer_offset % group_size, not self.is_send, self.tag)


def direction_of(call: ScheduledCall) -> Direction | None:
    """The direction of a p2p call; None if it receives from any source."""
    if call.peer_offset is None:
        return None
    return Direction(call.peer_offset, call.op is CollectiveOp.SEND, None if call.device is not None else call.tag or 0)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A process group, shared by its members: `label` is its name in reports, `name` is c10d's, `ranks` are global ranks in group order.

    `slots` maps each simulated member that uses the group to the slots of its schedule that are this group.
    """

    label: str | None
    name: str
    ranks: tuple[int, ...]
    group_rank_of: Mapping[int, int]
    slots: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class UniqueSchedule:
    """A schedule that one or more ranks have. `indices` are the positions of its calls by slot."""

    schedule: Schedule
    indices: Mapping[int, Sequence[int]]

    @property
    def calls(self) -> tuple[ScheduledCall, ...]:
        return self.schedule.calls


@dataclass(frozen=True, slots=True, eq=False)
class RankView:
    """What one simulated rank did. `groups` lists its groups once each; `group_of_slot` gives the index in it of each slot."""

    record: RankRecord
    calls: RankCalls
    schedule: UniqueSchedule
    groups: tuple[Group, ...]
    group_of_slot: tuple[int, ...]

    @property
    def rank(self) -> int:
        return self.record.rank


class SimulatedWorld:
    """The simulated ranks in order of rank, and their groups."""

    def __init__(self, ranks: Sequence[RankRecord]) -> None:
        self._schedules = _Schedules()
        self._group_ranks_by_id: dict[int, Mapping[int, int]] = {}
        self._group_ranks: dict[tuple[int, ...], Mapping[int, int]] = {}
        self._groups: dict[tuple[str, int], Group] = {}
        self.ranks: Mapping[int, RankView] = {record.rank: self._view(record) for record in sorted(ranks, key=lambda record: record.rank)}

    @cached_property
    def blocked(self) -> frozenset[int]:
        """The ranks that wait for ever in their last call: what they would do after it is not known."""
        return frozenset(rank for rank, view in self.ranks.items() if view.record.blocked is not None)

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(self._groups.values())

    def record(self, rank: int, index: int) -> CollectiveRecord:
        """Call `index` of a simulated rank."""
        return self.ranks[rank].calls[index]

    def _view(self, record: RankRecord) -> RankView:
        calls = calls_of(record.rank, record.collectives)
        numbers: dict[Group, int] = {}
        group_of_slot = []
        for slot, process_group in enumerate(calls.groups):
            group = self._group(process_group.label, process_group.name, process_group.ranks)
            if record.rank in group.group_rank_of:
                group.slots[record.rank] = (*group.slots.get(record.rank, ()), slot)
            group_of_slot.append(numbers.setdefault(group, len(numbers)))
        schedule = self._schedules.unique(calls.schedule, is_permanent=calls is record.collectives)
        return RankView(record, RankCalls(record.rank, schedule.schedule, calls.groups), schedule, tuple(numbers), tuple(group_of_slot))

    def _group(self, label: str | None, name: str, ranks: tuple[int, ...]) -> Group:
        group_ranks = self._group_ranks_of(ranks)
        key = name, id(group_ranks)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(label, name, ranks, group_ranks)
        return group

    def _group_ranks_of(self, ranks: tuple[int, ...]) -> Mapping[int, int]:
        """By global rank the group rank. Looked up by identity first: in a large job the tuples are long, and records share them."""
        group_ranks = self._group_ranks_by_id.get(id(ranks))
        if group_ranks is None:
            group_ranks = self._group_ranks.get(ranks)
            if group_ranks is None:
                group_ranks = self._group_ranks[ranks] = {rank: group_rank for group_rank, rank in enumerate(ranks)}
            self._group_ranks_by_id[id(ranks)] = group_ranks
        return group_ranks


class _Schedules:
    """The distinct schedules. Looked up by identity where possible: comparing two call by call takes as long as reading them."""

    def __init__(self) -> None:
        self._by_id: dict[int, UniqueSchedule] = {}
        self._by_value: dict[Schedule, UniqueSchedule] = {}

    def unique(self, schedule: Schedule, *, is_permanent: bool) -> UniqueSchedule:
        """`is_permanent` says that the schedule outlives this object: only then its identity is a safe key."""
        known = self._by_id.get(id(schedule)) if is_permanent else None
        if known is None:
            known = self._by_value.get(schedule)
            if known is None:
                known = self._by_value[schedule] = UniqueSchedule(schedule, _by_slot(schedule))
            if is_permanent:
                self._by_id[id(schedule)] = known
        return known


def _by_slot(schedule: Schedule) -> Mapping[int, Sequence[int]]:
    indices: dict[int, list[int]] = defaultdict(list)
    for index, call in enumerate(schedule.calls):
        indices[call.slot].append(index)
    return indices
