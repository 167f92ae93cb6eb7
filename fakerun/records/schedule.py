"""Schedule: the communication calls of a rank in order, in a form that names no rank, so that ranks which do the same have the same one.

The groups of a rank are numbered in the order in which it first uses them (its slots); a root is a place in its group, and the peer of
a message is so many places ahead in it. With the groups of one rank put in, a schedule gives that rank's records (`Calls`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

from fakerun.records.collective import CollectiveRecord, PlacedCall


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """A process group as records name it: what it is called there, c10d's own name, and its global ranks in group order."""

    label: str
    name: str
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """What groups must share to take each other's place: the number of ranks, and the label unless that lists the ranks."""

    label: str | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledCall(PlacedCall):
    """One call of a schedule. `peer_offset` counts places in the group from the rank's own, modulo the size of the group."""

    slot: int
    root_group_rank: int | None = None
    peer_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Calls in order, and what the groups have to be like that they go through."""

    slots: tuple[Slot, ...] = ()
    calls: tuple[ScheduledCall, ...] = ()


_PLACED = tuple(field.name for field in fields(PlacedCall))


@dataclass(frozen=True, slots=True, eq=False)
class Calls(Sequence[CollectiveRecord]):
    """The records of one rank, made from its schedule as they are asked for: `groups[i]` goes where the schedule has slot i."""

    rank: int
    schedule: Schedule
    groups: tuple[ProcessGroup, ...]

    def __len__(self) -> int:
        return len(self.schedule.calls)

    def __iter__(self) -> Iterator[CollectiveRecord]:
        return map(self._record, self.schedule.calls)

    @overload
    def __getitem__(self, index: int) -> CollectiveRecord: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[CollectiveRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> CollectiveRecord | tuple[CollectiveRecord, ...]:
        if isinstance(index, slice):
            return tuple(map(self._record, self.schedule.calls[index]))
        return self._record(self.schedule.calls[index])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(ours == theirs for ours, theirs in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # equal to any sequence of the same records, which hash in other ways

    def _record(self, call: ScheduledCall) -> CollectiveRecord:
        group = self.groups[call.slot]
        ranks = group.ranks
        root = None if call.root_group_rank is None else ranks[call.root_group_rank]
        peer = None if call.peer_offset is None else ranks[(_place(ranks, self.rank) + call.peer_offset) % len(ranks)]
        return CollectiveRecord(
            **{name: getattr(call, name) for name in _PLACED},
            group=group.label,
            group_ranks=ranks,
            process_group=group.name,
            root=root,
            peer=peer,
        )


def calls_of(rank: int, records: Iterable[CollectiveRecord]) -> Calls:
    """The records of a rank by schedule and groups."""
    if isinstance(records, Calls) and records.rank == rank:
        return records
    numbers: dict[ProcessGroup, int] = {}
    calls = []
    for record in records:
        group = ProcessGroup(record.group, record.process_group, record.group_ranks)
        slot = numbers.get(group)
        if slot is None:
            slot = numbers[group] = len(numbers)
        shared: dict[str, Any] = {name: getattr(record, name) for name in _PLACED}
        if record.root is not None:
            shared["root_group_rank"] = group.ranks.index(record.root)
        if record.peer is not None:
            shared["peer_offset"] = (group.ranks.index(record.peer) - _place(group.ranks, rank)) % len(group.ranks)
        calls.append(ScheduledCall(**shared, slot=slot))
    return Calls(rank, Schedule(tuple(map(_slot, numbers)), tuple(calls)), tuple(numbers))


def _slot(group: ProcessGroup) -> Slot:
    return Slot(None if group.label == ranks_label(group.ranks) else group.label, len(group.ranks))


def _place(ranks: Sequence[int], rank: int) -> int:
    """Where the rank is in the group; one that is not in it counts from the group's first."""
    return ranks.index(rank) if rank in ranks else 0


def ranks_label(ranks: Sequence[int]) -> str:
    """What a group is called that has no name: by its ranks."""
    return "ranks " + ",".join(map(str, ranks))
