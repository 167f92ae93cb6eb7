"""Schedule: the communication calls of a rank in order, in a form that names no rank, so that ranks that issue the same calls share it.

The groups of a rank are numbered in the order in which it first uses them (its slots); a root is stored as its group rank, the peer of a
p2p call as an offset of group ranks. `RankCalls` is a schedule with the groups of one rank: the records of that rank.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from fakerun.records.collective import CollectiveRecord, PlacedCall


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """A process group: its label (None: it has none), c10d's name, and its global ranks in group order."""

    label: str | None
    name: str
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """What groups that use one slot of a schedule have in common: the number of ranks and the label."""

    label: str | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledCall(PlacedCall):
    """One call of a schedule. `peer_offset` is the peer's group rank minus the rank's own, modulo the size of the group."""

    slot: int
    root_group_rank: int | None
    peer_offset: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Calls in order, and what the groups that they use must have in common."""

    slots: tuple[Slot, ...] = ()
    calls: tuple[ScheduledCall, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RankCalls(Sequence[CollectiveRecord]):
    """The records of one rank, built on access from its schedule: `groups[i]` is the group of slot i."""

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

    __hash__ = None  # type: ignore[assignment]  # equal to any sequence of the same records, and these hash differently

    def _record(self, call: ScheduledCall) -> CollectiveRecord:
        group = self.groups[call.slot]
        ranks = group.ranks
        root = None if call.root_group_rank is None else ranks[call.root_group_rank]
        peer = None if call.peer_offset is None else ranks[(_group_rank(ranks, self.rank) + call.peer_offset) % len(ranks)]
        return CollectiveRecord(
            seq=call.seq,
            step=call.step,
            phase=call.phase,
            module=call.module,
            call_site=call.call_site,
            op=call.op,
            dtype=call.dtype,
            input_sizes=call.input_sizes,
            output_sizes=call.output_sizes,
            nbytes=call.nbytes,
            reduce_op=call.reduce_op,
            tag=call.tag,
            input_splits=call.input_splits,
            output_splits=call.output_splits,
            is_async=call.is_async,
            coalesced=call.coalesced,
            device=call.device,
            waited=call.waited,
            waited_before=call.waited_before,
            group=group.label,
            group_ranks=ranks,
            process_group=group.name,
            root=root,
            peer=peer,
        )


def check_schedule(schedule: Schedule) -> None:
    """Check the numbers of a schedule that was read.

    Raises:
        ValueError: a call refers to a group, a root or a peer that the schedule does not have.
    """
    slots = schedule.slots
    for call in schedule.calls:
        if not 0 <= call.slot < len(slots):
            raise ValueError(f"call {call.seq} is of a group that is not there")
        if not all(number is None or 0 <= number < slots[call.slot].size for number in (call.root_group_rank, call.peer_offset)):
            raise ValueError(f"call {call.seq} is with a rank that its group does not have")


def check_groups(schedule: Schedule, groups: Sequence[ProcessGroup]) -> None:
    """Check that a rank's groups are those that its schedule needs.

    Raises:
        ValueError: their number or a size differs.
    """
    if [len(group.ranks) for group in groups] != [slot.size for slot in schedule.slots]:
        raise ValueError("its groups are not those of its schedule")


def calls_of(rank: int, records: Iterable[CollectiveRecord]) -> RankCalls:
    """The records of a rank by schedule and groups."""
    if isinstance(records, RankCalls) and records.rank == rank:
        return records
    numbers: dict[ProcessGroup, int] = {}
    calls = []
    for record in records:
        group = ProcessGroup(record.group, record.process_group, record.group_ranks)
        slot = numbers.get(group)
        if slot is None:
            slot = numbers[group] = len(numbers)
        calls.append(_scheduled(record, slot, _group_rank(group.ranks, rank) if record.peer is not None else 0))
    return RankCalls(rank, Schedule(tuple(map(_slot, numbers)), tuple(calls)), tuple(numbers))


def _scheduled(record: CollectiveRecord, slot: int, own_group_rank: int) -> ScheduledCall:
    """The record without its ranks; `own_group_rank` is that of the rank in the call's group."""
    ranks = record.group_ranks
    return ScheduledCall(
        seq=record.seq,
        step=record.step,
        phase=record.phase,
        module=record.module,
        call_site=record.call_site,
        op=record.op,
        dtype=record.dtype,
        input_sizes=record.input_sizes,
        output_sizes=record.output_sizes,
        nbytes=record.nbytes,
        reduce_op=record.reduce_op,
        tag=record.tag,
        input_splits=record.input_splits,
        output_splits=record.output_splits,
        is_async=record.is_async,
        coalesced=record.coalesced,
        device=record.device,
        waited=record.waited,
        waited_before=record.waited_before,
        slot=slot,
        root_group_rank=None if record.root is None else ranks.index(record.root),
        peer_offset=None if record.peer is None else (ranks.index(record.peer) - own_group_rank) % len(ranks),
    )


def _slot(group: ProcessGroup) -> Slot:
    return Slot(group.label, len(group.ranks))


def _group_rank(ranks: Sequence[int], rank: int) -> int:
    """The rank's position in the group; 0 for a rank that is not a member."""
    return ranks.index(rank) if rank in ranks else 0
