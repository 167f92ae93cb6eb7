"""Communication calls for tests, and the findings when ranks that issue them are matched."""

from collections.abc import Mapping, Sequence
from typing import Any

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import collective, in_order, text

Calls = Sequence[CollectiveRecord]
WORLD = (0, 1, 2, 3)


def call(line: int, op: CollectiveOp = CollectiveOp.ALL_REDUCE, n: int = 8, **fields: Any) -> CollectiveRecord:
    """A call on all ranks, or on the given group, at this line."""
    sizes: dict[str, Any] = {"input_sizes": ((n,),), "output_sizes": ((n,),)}
    return collective(op, **{"process_group": "0", "group_ranks": WORLD, "call_site": f"train.py:{line}", **sizes, **fields})


def send(line: int, peer: int, n: int = 8, **fields: Any) -> CollectiveRecord:
    return call(line, CollectiveOp.SEND, output_sizes=(), input_sizes=((n,),), peer=peer, **fields)


def recv(line: int, peer: int, n: int = 8, **fields: Any) -> CollectiveRecord:
    return call(line, CollectiveOp.RECV, input_sizes=(), output_sizes=((n,),), peer=peer, **fields)


def exchange(line: int, sent: Sequence[int], received: Sequence[int]) -> CollectiveRecord:
    sizes: dict[str, Any] = {"input_sizes": ((sum(sent), 2),), "output_sizes": ((sum(received), 2),)}
    return call(line, CollectiveOp.ALL_TO_ALL_SINGLE, **sizes, input_splits=tuple(sent), output_splits=tuple(received))


def in_groups(*groups: tuple[int, int]) -> Calls:
    """One call on each of these groups, in order."""
    return [call(1, process_group=f"of {ranks}", group_ranks=ranks) for ranks in groups]


def found(ranks: Mapping[int, Calls], **fields: Any) -> list[tuple[str, tuple[int, ...], str | None]]:
    records = [RankRecord(rank=rank, collectives=in_order(calls), **fields) for rank, calls in ranks.items()]
    return [(finding.code, finding.ranks, text(finding.call_site)) for finding in matching_findings(records)]
