"""The calls of a schedule on one group as numbers: equal signatures, sequences and call sites have equal numbers.

What a schedule does on a group is worked out once for all ranks that have the schedule.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.dependency import Direction, Group, SimulatedWorld, UniqueSchedule, direction_of
from fakerun.records.call_signature import CallSignature, Counts, signature_of, size_error, splits_of
from fakerun.records.collective import P2P_OPS
from fakerun.records.schedule import ScheduledCall


class Numbering(dict[Hashable, int]):
    """Numbers values from 0 in the order in which they are first looked up; equal values have one number."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = number = len(self)
        return number


@dataclass(frozen=True, slots=True)
class InternedCall:
    """What a comparison needs of a call. Equal signatures have one `number`; `size_error` says why its sizes are wrong by themselves."""

    number: int
    signature: CallSignature
    size_error: str | None
    splits: tuple[Counts, Counts] | None


@dataclass(frozen=True, slots=True, eq=False)
class CallSequence:
    """The collectives of a rank on a group, or its p2p calls in one direction: `indices` are their positions in the schedule.

    Sequences that agree in `numbers` have one `sequence_number`, those that come from the same lines one `call_sites_number`. `has_checks`
    says whether a call has sizes to be checked beyond its signature.
    """

    indices: tuple[int, ...]
    calls: tuple[InternedCall, ...]
    numbers: tuple[int, ...]
    sequence_number: int
    call_sites_number: int
    has_checks: bool


@dataclass(frozen=True, slots=True, eq=False)
class GroupCalls:
    """What a schedule does on one group. `program` has all calls of the schedule, `slots` are those of the group.

    If it `receives_from_any`, its p2p calls cannot be assigned to senders.
    """

    schedule: UniqueSchedule
    program: tuple[InternedCall, ...]
    slots: tuple[int, ...]
    collectives: CallSequence
    p2p: Mapping[Direction, CallSequence]
    receives_from_any: bool


class InternedCalls:
    """The calls of the ranks of a world, by rank and group."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._group_calls: dict[tuple[UniqueSchedule, tuple[int, ...]], GroupCalls] = {}
        self._programs: dict[UniqueSchedule, tuple[InternedCall, ...]] = {}
        self._calls: dict[Hashable, InternedCall] = {}
        self._signatures = Numbering()
        self._sequences = Numbering()
        self._call_sites = Numbering()

    def of(self, rank: int, group: Group) -> GroupCalls:
        """What a simulated rank does on a group; nothing if it does not use it."""
        key = self._world.ranks[rank].schedule, group.slots.get(rank, ())
        calls = self._group_calls.get(key)
        if calls is None:
            calls = self._group_calls[key] = self._of_slots(*key)
        return calls

    def _program(self, schedule: UniqueSchedule) -> tuple[InternedCall, ...]:
        program = self._programs.get(schedule)
        if program is None:
            slots = schedule.schedule.slots
            program = self._programs[schedule] = tuple(self._interned(call, slots[call.slot].size) for call in schedule.calls)
        return program

    def _interned(self, call: ScheduledCall, size: int) -> InternedCall:
        key = (call.op, call.dtype, call.input_sizes, call.output_sizes, call.input_splits, call.output_splits, call.reduce_op, call.root_group_rank, size)  # fmt: skip # noqa: E501
        interned = self._calls.get(key)
        if interned is None:
            signature = signature_of(call, call.root_group_rank)
            interned = InternedCall(self._signatures[signature], signature, size_error(call, size), splits_of(call, size))
            self._calls[key] = interned
        return interned

    def _of_slots(self, schedule: UniqueSchedule, slots: tuple[int, ...]) -> GroupCalls:
        calls = schedule.calls
        collectives: list[int] = []
        p2p: dict[Direction, list[int]] = defaultdict(list)
        receives_from_any = False
        for index in sorted(index for slot in slots for index in schedule.indices[slot]):
            if calls[index].op not in P2P_OPS:
                collectives.append(index)
            elif (direction := direction_of(calls[index])) is not None:
                p2p[direction].append(index)
            else:
                receives_from_any = True
        sequences = {direction: self._sequence(schedule, indices) for direction, indices in p2p.items()}
        return GroupCalls(schedule, self._program(schedule), slots, self._sequence(schedule, collectives), sequences, receives_from_any)

    def _sequence(self, schedule: UniqueSchedule, indices: Sequence[int]) -> CallSequence:
        program = self._program(schedule)
        calls = tuple(program[index] for index in indices)
        numbers = tuple(call.number for call in calls)
        return CallSequence(
            indices=tuple(indices),
            calls=calls,
            numbers=numbers,
            sequence_number=self._sequences[numbers],
            call_sites_number=self._call_sites[tuple(schedule.calls[index].call_site for index in indices)],
            has_checks=any(call.size_error is not None or call.splits is not None for call in calls),
        )
