"""Random programs in which all ranks follow one plan: no findings, until one rank deviates from the plan."""

import random
from dataclasses import replace
from typing import Any

import pytest

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import Severity
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import collective, site

WORLD = range(6)
Plan = dict[int, list[CollectiveRecord]]


class Planner:
    """Appends one operation after the other to the programs of all ranks that take part in it, so that all issue them in one order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.plan: Plan = {rank: [] for rank in WORLD}
        self._groups = [tuple(self.chance.sample(WORLD, self.chance.randint(2, len(WORLD)))) for _ in range(4)]
        self._batches = 0

    def write(self) -> Plan:
        for line in range(1, self.chance.randint(2, 25)):
            number = self.chance.randrange(len(self._groups))
            group: dict[str, Any] = {"group": "g", "process_group": str(number), "group_ranks": self._groups[number]}
            call = collective(call_site=site(f"train.py:{line}"), device=self.chance.choice((0, 0, None)), **group)
            self.chance.choice((self._collective, self._collective, self._exchange, self._message, self._round))(call)
        return {rank: self._awaited(calls) for rank, calls in self.plan.items()}

    def _collective(self, call: CollectiveRecord) -> None:
        n, ranks = self.chance.randint(1, 4), call.group_ranks
        op, given, gotten, root = self.chance.choice(
            (
                (CollectiveOp.ALL_REDUCE, n, n, None),
                (CollectiveOp.BROADCAST, n, n, self.chance.choice(ranks)),
                (CollectiveOp.ALL_GATHER_INTO_TENSOR, n, n * len(ranks), None),
                (CollectiveOp.REDUCE_SCATTER_TENSOR, n * len(ranks), n, None),
            )
        )
        for rank in ranks:
            self.plan[rank].append(replace(call, op=op, input_sizes=((given,),), output_sizes=((gotten,),), root=root))

    def _exchange(self, call: CollectiveRecord) -> None:
        """Any number of rows from each to each."""
        table = {(a, b): self.chance.randint(0, 3) for a in call.group_ranks for b in call.group_ranks}
        for rank in call.group_ranks:
            sent, received = (tuple(table[pair] for pair in pairs) for pairs in self._pairs(call.group_ranks, rank))
            sizes: dict[str, Any] = {"input_sizes": ((sum(sent), 2),), "output_sizes": ((sum(received), 2),)}
            splits: dict[str, Any] = {"input_splits": sent, "output_splits": received}
            self.plan[rank].append(replace(call, op=CollectiveOp.ALL_TO_ALL_SINGLE, **sizes, **splits))

    @staticmethod
    def _pairs(ranks: tuple[int, ...], rank: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return [(rank, other) for other in ranks], [(other, rank) for other in ranks]

    def _message(self, call: CollectiveRecord) -> None:
        source, target = self.chance.sample(call.group_ranks, 2)
        self._send(call, source, target)

    def _send(self, call: CollectiveRecord, source: int, target: int) -> None:
        sizes = (self.chance.randint(1, 4),), ()
        self.plan[source].append(replace(call, op=CollectiveOp.SEND, peer=target, input_sizes=sizes[:1], output_sizes=(), tag=0))
        self.plan[target].append(replace(call, op=CollectiveOp.RECV, peer=source, input_sizes=(), output_sizes=sizes[:1], tag=0))

    def _round(self, call: CollectiveRecord) -> None:
        """Everybody sends to the next and receives from the one before, as one call."""
        self._batches += 1
        ranks = call.group_ranks
        for source, target in zip(ranks, ranks[1:] + ranks[:1], strict=True):
            self._send(replace(call, coalesced=self._batches, is_async=True), source, target)

    def _awaited(self, calls: list[CollectiveRecord]) -> list[CollectiveRecord]:
        """Some are asynchronous and waited for some calls later; coalesced calls are, after the last of them."""
        written = []
        for seq, call in enumerate(calls):
            ends = max(
                (at for at, each in enumerate(calls) if call.coalesced is not None and each.coalesced == call.coalesced), default=seq
            )
            is_async = call.is_async or self.chance.random() < 0.3
            waited_before = ends + 1 + self.chance.randint(0, 3) if is_async else None
            written.append(replace(call, seq=seq, is_async=is_async, waited_before=waited_before))
        return written


def errors(plan: Plan) -> list[Finding]:
    records = [RankRecord(rank=rank, collectives=tuple(calls)) for rank, calls in plan.items()]
    return [finding for finding in matching_findings(records) if finding.severity is Severity.ERROR]


@pytest.mark.parametrize("seed", range(60))
def test_a_plan_that_all_follow_works(seed: int) -> None:
    assert errors(Planner(seed).write()) == []


@pytest.mark.parametrize("seed", range(60))
def test_a_rank_that_deviates_from_the_plan_is_found(seed: int) -> None:
    """In a group of two nobody can say which of them is wrong."""
    chance = random.Random(seed)
    plan = Planner(seed).write()
    rank = chance.choice([rank for rank, calls in plan.items() if calls])
    position = chance.randrange(len(plan[rank]))
    call = plan[rank][position]
    found = errors(plan | {rank: chance.choice((without, with_other_dtype, with_other_size))(plan[rank], position)})
    assert found
    assert call.group_size == 2 or any(rank in finding.ranks for finding in found)


def without(calls: list[CollectiveRecord], position: int) -> list[CollectiveRecord]:
    def moved_up(call: CollectiveRecord) -> CollectiveRecord:
        later = call.waited_before is not None and call.waited_before > position
        return replace(call, waited_before=call.waited_before - 1 if later and call.waited_before else call.waited_before)

    left = [*calls[:position], *calls[position + 1 :]]
    return [replace(moved_up(call), seq=seq) for seq, call in enumerate(left)]


def with_other_dtype(calls: list[CollectiveRecord], position: int) -> list[CollectiveRecord]:
    return [replace(call, dtype="int64") if seq == position else call for seq, call in enumerate(calls)]


def with_other_size(calls: list[CollectiveRecord], position: int) -> list[CollectiveRecord]:
    """Twice as much of all, by which each call's own sizes still add up."""

    def twice(call: CollectiveRecord) -> CollectiveRecord:
        inputs, outputs = (tuple((2 * n, *more) for n, *more in sizes) for sizes in (call.input_sizes, call.output_sizes))
        splits: dict[str, Any] = {}
        if call.input_splits is not None and call.output_splits is not None:  # at least a row, so that twice as much is more
            given, gotten = ([2 * n + 1 for n in table] for table in (call.input_splits, call.output_splits))
            splits = {"input_splits": tuple(given), "output_splits": tuple(gotten)}
            inputs, outputs = ((sum(given), 2),), ((sum(gotten), 2),)
        return replace(call, input_sizes=inputs, output_sizes=outputs, **splits)

    return [twice(call) if seq == position else call for seq, call in enumerate(calls)]
