"""Sizes that are wrong although the members of a group agree on the signature of the call.

The same error at the same call site is one finding, with all ranks that have it.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching.compare.group_classes import GroupClass
from fakerun.analysis.matching.compare.interning import CallSequence
from fakerun.analysis.matching.description import at, describe_call, describe_position, other_sites
from fakerun.call_site import CallSite
from fakerun.records.call_signature import Counts
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

_SIZES_HINT = "Give the tensors the sizes that the operation requires."
_SPLITS_HINT = "Exchange the counts first (an all_to_all_single of the split sizes), and use the received ones as output splits."


class CallChecks:
    """Collects the findings of one class of groups after the other."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._findings: dict[Hashable, Finding] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._findings.values()

    def check(self, group_class: GroupClass, end: int) -> None:
        """Check the collectives of a group before position `end`, up to which the members agree."""
        if any(calls.collectives.has_checks for _, calls in group_class.members()):
            self._check_sizes(group_class, end)
            self._check_splits(group_class, end)

    def _add(self, key: Hashable, finding: Finding) -> None:
        known = self._findings.get(key)
        self._findings[key] = finding if known is None else replace(known, ranks=tuple(sorted({*known.ranks, *finding.ranks})))

    def _check_sizes(self, group_class: GroupClass, end: int) -> None:
        for sequence, ranks in _by_sequence(group_class).items():
            for position, call in enumerate(sequence.calls[:end]):
                if call.size_error is None:
                    continue
                record = self._world.record(ranks[0], sequence.indices[position])
                message = f"{describe_call(record)}, {describe_position(record, position)}, has wrong sizes: {call.size_error}."
                finding = _error(FindingCode.SIZE_MISMATCH, message, _everywhere(group_class, ranks), record.call_site, _SIZES_HINT)
                self._add((record.call_site, record.op, call.size_error), finding)

    def _check_splits(self, group_class: GroupClass, end: int) -> None:
        """In an all-to-all, the elements that one rank sends to another must be those that the other one expects from it."""
        sequences = {group_class.group.group_rank_of[rank]: calls.collectives for rank, calls in group_class.members()}
        for position in range(end):
            tables = {
                group_rank: splits for group_rank, sequence in sequences.items() if (splits := sequence.calls[position].splits) is not None
            }
            wrong = _first_contradiction(tables)
            if wrong is not None:
                self._add_splits(group_class, sequences, tables, wrong, position)

    def _add_splits(
        self,
        group_class: GroupClass,
        sequences: Mapping[int, CallSequence],
        tables: Mapping[int, tuple[Counts, Counts]],
        wrong: tuple[int, int],
        position: int,
    ) -> None:
        ranks = [group_class.group.ranks[group_rank] for group_rank in wrong]
        send, receive = (
            self._world.record(rank, sequences[group_rank].indices[position]) for rank, group_rank in zip(ranks, wrong, strict=True)
        )
        sent, expected = tables[wrong[0]][0][wrong[1]], tables[wrong[1]][1][wrong[0]]
        sites = f"{at(send)} and{at(receive)}" if send.call_site != receive.call_site else at(send)
        where = f"{describe_position(send, position)}{sites}"
        message = f"rank {ranks[0]} sends {sent} elements to rank {ranks[1]}, which expects {expected}, in {where}."
        finding = _error(FindingCode.SPLITS_MISMATCH, message, _everywhere(group_class, ranks), send.call_site, _SPLITS_HINT)
        finding = replace(finding, other_call_sites=other_sites(send.call_site, [receive.call_site]))
        self._add(("splits", send.call_site, receive.call_site), finding)


def _by_sequence(group_class: GroupClass) -> Mapping[CallSequence, Sequence[int]]:
    sequences: dict[CallSequence, list[int]] = defaultdict(list)
    for rank, calls in group_class.members():
        sequences[calls.collectives].append(rank)
    return sequences


def _everywhere(group_class: GroupClass, ranks: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(group_class.ranks_of([group_class.group.group_rank_of[rank] for rank in ranks])))


def _first_contradiction(tables: Mapping[int, tuple[Counts, Counts]]) -> tuple[int, int] | None:
    """The group ranks of a sender and a receiver whose splits contradict each other. `tables` has what each member sends and receives."""
    distinct = {id(table): table for table in tables.values()}
    if all(table[0] == table[1] and len(set(table[0])) == 1 for table in distinct.values()) and len(distinct) == 1:
        return None
    last = max(tables, default=-1)
    group_ranks = [group_rank for group_rank, table in sorted(tables.items()) if min(map(len, table)) > last]
    columns = list(zip(*(tables[group_rank][0] for group_rank in group_ranks), strict=False))
    for receiver in group_ranks:
        expected = tables[receiver][1]
        for sender, sent in zip(group_ranks, columns[receiver], strict=True):
            if sent != expected[sender]:
                return sender, receiver
    return None


def _error(code: FindingCode, message: str, ranks: tuple[int, ...], call_site: CallSite | None, hint: str) -> Finding:
    return Finding(code=code, message=message, ranks=ranks, call_site=call_site, hint=hint)
