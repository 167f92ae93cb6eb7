"""Ranks whose records end in a call that never completes: what they would do after it is not missing, and they are not the cause."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import Blocked, FailureKind, GroupCreation, ProcessFailure, RankRecord
from tests.unit.calls_by_hand import Calls, call, recv, send
from tests.unit.records_by_hand import in_order, site, text

FOUR = (0, 1, 2, 3)
BUCKETS: dict[str, Any] = {"n": 5, "dtype": "int32", "device": None}


def pair(line: int, name: str, **fields: Any) -> CollectiveRecord:
    return call(line, process_group=name, group=name, group_ranks=(0, 1), device=None, **fields)


def waiting(rank: int, calls: Calls, *waits_for: int, **fields: Any) -> RankRecord:
    """A rank that waits for those in its last call."""
    blocked = Blocked(call=len(calls) - 1, waits_for=waits_for, call_site=calls[-1].call_site)
    return RankRecord(rank=rank, collectives=in_order(calls), blocked=blocked, **fields)


def ended(rank: int, calls: Calls, **fields: Any) -> RankRecord:
    return RankRecord(rank=rank, collectives=in_order(calls), **fields)


STEP = [call(9), call(10)]
LOOP = [*STEP, *STEP]

FOUND: dict[str, tuple[Sequence[RankRecord], list[tuple[str, tuple[int, ...], str | None]]]] = {
    "one evaluates alone, and goes on": (
        [
            ended(0, [*STEP, call(20, n=3), call(20, n=1), call(10, **BUCKETS), *STEP]),
            *(waiting(rank, [*STEP, call(10, **BUCKETS)], 0) for rank in (1, 2, 3)),
        ],
        [("extra-collective", (0,), "train.py:20")],
    ),
    "one evaluates alone, and is blocked too": (
        [
            waiting(0, [*STEP, call(20, n=3, device=None)], 1, 2, 3),
            *(waiting(rank, [*STEP, call(10, **BUCKETS)], 0) for rank in (1, 2, 3)),
        ],
        [("extra-collective", (0,), "train.py:20")],
    ),
    "one leaves the loop for a later line": (
        [*(waiting(rank, [*LOOP, call(10, **BUCKETS)], 3) for rank in (0, 1, 2)), waiting(3, [*LOOP, *LOOP[:1]], 0, 1, 2)],
        [("missing-collective", (3,), "train.py:9")],
    ),
    "two branches of one exchange": (
        [
            waiting(0, [call(3, n=4, device=None)], 1, 2, 3),
            *(waiting(rank, [call(5, n=8, device=None)], 0) for rank in (1, 2, 3)),
        ],
        [("size-mismatch", (0,), "train.py:3")],
    ),
    "fewer steps": (
        [
            ended(0, [call(9, step=0, device=None)], steps=1),
            *(waiting(rank, [call(9, step=step, device=None) for step in (0, 1)], 0, steps=1) for rank in (1, 2, 3)),
        ],
        [("uneven-steps", (0,), "train.py:9")],
    ),
    "a call after the last step": (
        [
            ended(0, [call(9, step=0, device=None)], steps=1),
            *(waiting(rank, [call(9, step=0, device=None), call(30, step=1, device=None)], 0, steps=1) for rank in (1, 2, 3)),
        ],
        [("missing-collective", (0,), "train.py:30")],
    ),
    "two groups in opposite orders": (
        [waiting(0, [pair(1, "a")], 1), waiting(1, [pair(2, "b")], 0)],
        [("deadlock", (0, 1), "train.py:1")],
    ),
    "all receive first": (
        [waiting(rank, [recv(7, (rank + 1) % 4, device=None)], (rank + 1) % 4) for rank in FOUR],
        [("deadlock", FOUR, "train.py:7")],
    ),
    "one waits for one that waits for one that ended": (
        [
            ended(0, []),
            waiting(1, [recv(7, 0, device=None)], 0),
            waiting(2, [recv(7, 1, device=None)], 1),
        ],
        [("recv-without-send", (0, 1), "train.py:7")],
    ),
    "what a blocked rank would send is not missing": (
        [ended(0, []), waiting(1, [recv(7, 0, device=None)], 0), ended(2, [recv(8, 1)]), ended(3, [send(8, 1)])],
        [("recv-without-send", (0, 1), "train.py:7")],
    ),
    "for a key": (
        [RankRecord(rank=rank, blocked=Blocked(call=None, waits_for=(), key="go", call_site=site("train.py:4"))) for rank in (0, 1)],
        [("missing-key", (0, 1), "train.py:4")],
    ),
    "for a rank that the simulation ended": (
        [
            RankRecord(rank=0, failure=ProcessFailure(kind=FailureKind.GAP, exception=None, message="not emulated")),
            *(waiting(rank, [call(1, device=None)], 0) for rank in (1, 2, 3)),
        ],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "expected"), FOUND.values(), ids=FOUND)
def test_what_blocks_ranks(ranks: Sequence[RankRecord], expected: list[tuple[str, tuple[int, ...], str | None]]) -> None:
    assert [(finding.code, finding.ranks, text(finding.call_site)) for finding in matching_findings(ranks)] == expected


def test_a_rank_that_evaluates_alone_is_told_where() -> None:
    (finding,) = matching_findings(FOUND["one evaluates alone, and goes on"][0])
    assert finding.message == (
        "rank 0 issues 2 extra collectives before collective #2 of group dp (ranks 0-3): it calls all_reduce float32[3] at train.py:20 "
        "where ranks 1-3 call all_reduce int32[5] at train.py:10."
    )
    assert finding.hint is not None
    assert finding.hint.startswith("Only rank 0 communicates at train.py:20. Let all ranks of the group run what communicates there")


def test_groups_that_blocked_ranks_do_not_reach_are_not_missing() -> None:
    groups: Mapping[int, tuple[GroupCreation, ...]] = {
        rank: tuple(GroupCreation(ranks=ranks, before=1) for ranks in ((0, 1), (2, 3))[: 1 if rank == 1 else 2]) for rank in (0, 1, 2)
    }
    ranks = [
        ended(0, [], group_creations=groups[0]),
        waiting(1, [recv(7, 0, device=None)], 0, group_creations=groups[1]),
        ended(2, [], group_creations=groups[2]),
    ]
    assert [finding.code for finding in matching_findings(ranks)] == ["recv-without-send"]


def test_of_the_groups_that_a_blocked_rank_did_create_all_must_agree() -> None:
    made = [tuple(GroupCreation(ranks=ranks, before=0) for ranks in each) for each in (((0, 1), (2, 3)), ((0, 1), (2, 3)), ((2, 3),))]
    ranks = [ended(0, [], group_creations=made[0]), ended(1, [], group_creations=made[1])]
    ranks.append(waiting(2, [call(1, CollectiveOp.BARRIER, device=None)], 0, group_creations=made[2]))
    assert [(finding.code, finding.ranks) for finding in matching_findings(ranks)] == [("group-mismatch", (2,))]
