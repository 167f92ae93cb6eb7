"""Sends and receives: each send needs a receive of the same size and dtype. For one sender, receiver, group and tag they match in order.

NCCL has no tags (ProcessGroupNCCL::send ignores its argument): on a GPU, p2p calls between two ranks match in the order of the calls.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fakerun.analysis.dependency import Direction, SimulatedWorld
from fakerun.analysis.matching.compare.alignment import first_divergence
from fakerun.analysis.matching.compare.early_exit import FAILED_HINT, UNEVEN_HINT, failure_of, failure_site, uneven_steps
from fakerun.analysis.matching.compare.group_classes import GroupClass
from fakerun.analysis.matching.compare.interning import CallSequence, GroupCalls
from fakerun.analysis.matching.compare.mismatch import Mismatch
from fakerun.analysis.matching.description import at
from fakerun.records.call_signature import first_difference
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding_code import FindingCode

_UNMATCHED = frozenset({FindingCode.SEND_WITHOUT_RECV, FindingCode.RECV_WITHOUT_SEND})


def p2p_mismatches(world: SimulatedWorld, group_class: GroupClass) -> Iterator[Mismatch]:
    """What is wrong with the p2p calls of a group: for each pair of members the first mismatch, as the rest follows from it."""
    sides: dict[tuple[GroupCalls, GroupCalls, Direction], list[int]] = defaultdict(list)
    size = len(group_class.member_calls)
    for group_rank, calls in enumerate(group_class.member_calls):
        for direction in calls.p2p if calls is not None else ():
            peer = group_class.member_calls[(group_rank + direction.peer_offset) % size]
            # A direction that both sides use is compared once, from the sender's side.
            if calls is not None and peer is not None and (direction.is_send or direction.reverse(size) not in peer.p2p):
                sides[calls, peer, direction].append(group_rank)
    for (_, _, direction), group_ranks in sides.items():
        yield from _PeerPair(world, group_class, group_ranks, direction).mismatches()


class _PeerPair:
    """Members that do the same in one direction, and their peers. The first of `group_ranks` and its peer are the ones described."""

    def __init__(self, world: SimulatedWorld, group_class: GroupClass, group_ranks: Sequence[int], direction: Direction) -> None:
        self._world, self._group_class, self._direction = world, group_class, direction
        self._size = len(group_class.member_calls)
        self._own_group_rank, self._peer_group_rank = group_ranks[0], (group_ranks[0] + direction.peer_offset) % self._size
        self._distances = [group_rank - group_ranks[0] for group_rank in group_ranks]
        own, peer = (group_class.member_calls[group_rank] for group_rank in (self._own_group_rank, self._peer_group_rank))
        assert own is not None
        assert peer is not None
        self._own, self._peer = own, peer
        self._own_rank, self._peer_rank = group_class.group.ranks[self._own_group_rank], group_class.group.ranks[self._peer_group_rank]
        self._own_sequence, self._peer_sequence = own.p2p[direction], peer.p2p.get(direction.reverse(self._size))

    def mismatches(self) -> Iterator[Mismatch]:
        own = self._own_sequence.numbers
        peer = self._peer_sequence.numbers if self._peer_sequence is not None else ()
        number = first_divergence(own, peer)
        if number is None:
            return
        if _has_one_more(own, peer, number):
            if (not self._peer.receives_from_any or not self._direction.is_send) and not self._is_blocked_before(
                peer, number, self._peer_group_rank
            ):
                yield self._unmatched(number, self._own_group_rank, self._own_sequence)
        elif self._peer_sequence is not None and _has_one_more(peer, own, number):
            if not self._own.receives_from_any and not self._is_blocked_before(own, number, self._own_group_rank):
                yield self._unmatched(number, self._peer_group_rank, self._peer_sequence)
        elif number < min(len(own), len(peer)):
            yield self._unequal(number)

    def _is_blocked_before(self, numbers: Sequence[int], number: int, group_rank: int) -> bool:
        """Whether that member might have made call `number`, had it not been blocked before."""
        return number >= len(numbers) and group_rank in self._group_class.blocked

    def _unequal(self, number: int) -> Mismatch:
        assert self._peer_sequence is not None
        assert self._direction.is_send
        sent, received = self._own_sequence.calls[number].signature, self._peer_sequence.calls[number].signature
        code = first_difference(sent, received)
        gives, takes = (
            (sent.dtype, received.dtype)
            if code is FindingCode.DTYPE_MISMATCH
            else (f"{sent.counts[0]} elements", f"{received.counts[0]} elements")
        )
        send = self._world.record(self._own_rank, self._own_sequence.indices[number])
        receive = self._world.record(self._peer_rank, self._peer_sequence.indices[number])
        ranks = self._ranks(self._own_group_rank) | self._ranks(self._peer_group_rank)
        return Mismatch(
            code=code,
            message=f"rank {self._own_rank} sends message #{number} to rank {self._peer_rank} with {gives}{at(send)}, "
            f"but rank {self._peer_rank} receives it with {takes}{at(receive)}",
            hint="Send and receive the same number of elements of the same dtype.",
            call_site=send.call_site,
            majority_site=receive.call_site,
            outliers=ranks,
            ranks=ranks,
            groups=self._group_class.groups,
            rank=self._own_rank,
            position=number,
            program_index=self._own_sequence.indices[number],
            direction=self._direction,
            desynchronising=False,
        )

    def _unmatched(self, number: int, group_rank: int, sequence: CallSequence) -> Mismatch:
        """A p2p call of the member with that group rank, to which its peer issues no counterpart."""
        is_own = group_rank == self._own_group_rank
        absent_group_rank = self._peer_group_rank if is_own else self._own_group_rank
        rank, absent = (self._group_class.group.ranks[each] for each in (group_rank, absent_group_rank))
        direction = self._direction if is_own else self._direction.reverse(self._size)
        record = self._world.record(rank, sequence.indices[number])
        code, message, hint = self._statement(record, rank, absent, number, direction)
        failed = code == FindingCode.EARLY_EXIT
        outliers = self._ranks(absent_group_rank)
        return Mismatch(
            code=code,
            message=message,
            hint=hint,
            call_site=(failure_site(self._world, absent) if failed else None) or record.call_site,
            majority_site=record.call_site,
            outliers=outliers,
            ranks=outliers | (self._ranks(group_rank) if code in _UNMATCHED else frozenset()),
            groups=self._group_class.groups,
            rank=rank,
            position=number,
            earliest_position=_first_equal(sequence.numbers, number),
            program_index=sequence.indices[number],
            direction=direction,
            failure=failure_of(self._world, absent) if failed else None,
        )

    def _statement(
        self, record: CollectiveRecord, rank: int, absent: int, number: int, direction: Direction
    ) -> tuple[FindingCode, str, str]:
        """Code, message and hint: why the peer issues no counterpart."""
        verb, word = ("sending", "to") if direction.is_send else ("receiving", "from")
        hangs = f"rank {rank} hangs {verb} message #{number} {word} it{at(record)}"
        if failure_of(self._world, absent) is not None:
            return FindingCode.EARLY_EXIT, f"rank {absent} failed: {hangs}", FAILED_HINT
        uneven = uneven_steps(self._world, rank, absent, record.step, None)
        if uneven is not None:
            return FindingCode.UNEVEN_STEPS, f"{uneven.format(who=f'rank {absent}', s='s')}: {hangs}", UNEVEN_HINT
        code = FindingCode.SEND_WITHOUT_RECV if direction.is_send else FindingCode.RECV_WITHOUT_SEND
        verb, missing = ("sends", "receive") if direction.is_send else ("receives", "send")
        message = f"rank {rank} {verb} message #{number} {word} rank {absent}{at(record)}, but rank {absent} issues no matching {missing}"
        return code, message, f"Add the {missing} on rank {absent}, with the same group and tag, or remove the call on rank {rank}."

    def _ranks(self, group_rank: int) -> frozenset[int]:
        return self._group_class.ranks_of([(group_rank + distance) % self._size for distance in self._distances])


def _has_one_more(longer: Sequence[int], shorter: Sequence[int], number: int) -> bool:
    """Whether one side has a call at that position that the other lacks, after which both agree for as long as the other goes on."""
    return len(longer) > len(shorter) and longer[number + 1 : len(shorter) + 1] == shorter[number:]


def _first_equal(numbers: Sequence[int], number: int) -> int:
    """The first of the equal calls that end at that position: which of them is missing on the other side is not known."""
    return next((before + 1 for before in range(number - 1, -1, -1) if numbers[before] != numbers[number]), 0)
