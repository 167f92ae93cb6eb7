"""Matching of ranks: each kind of mismatch, and the differences that are allowed. Records by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import Severity
from fakerun.records.run import FailureKind, GroupCreation, ProcessFailure, RankRecord
from tests.unit.calls_by_hand import WORLD, Calls, call, exchange, found, in_groups, recv, send
from tests.unit.records_by_hand import in_order, site, text

USUAL = (
    call(1),
    call(2, CollectiveOp.BROADCAST, root=0),
    call(3, n=4),
    call(4, CollectiveOp.BARRIER, input_sizes=(), output_sizes=(), dtype=""),
)


def on_rank_two(change: Callable[[list[CollectiveRecord]], Calls]) -> dict[int, Calls]:
    return {rank: change(list(USUAL)) if rank == 2 else USUAL for rank in WORLD}


def changed(position: int, **fields: Any) -> dict[int, Calls]:
    return on_rank_two(lambda calls: [replace(each, **fields) if i == position else each for i, each in enumerate(calls)])


DIFFERENCES: dict[str, tuple[dict[int, Calls], str, tuple[int, ...], str | None]] = {
    "left out": (on_rank_two(lambda calls: [calls[0], *calls[2:]]), "missing-collective", (2,), "train.py:3"),
    "left out at the end": (on_rank_two(lambda calls: calls[:3]), "missing-collective", (2,), "train.py:4"),
    "one too many": (on_rank_two(lambda calls: [calls[0], call(9, n=3), *calls[1:]]), "extra-collective", (2,), "train.py:9"),
    "other order": (on_rank_two(lambda calls: [calls[0], calls[2], calls[1], calls[3]]), "swapped-collectives", (2,), "train.py:3"),
    "another operation": (changed(0, op=CollectiveOp.REDUCE, root=0), "operation-mismatch", (2,), "train.py:1"),
    "another size": (changed(0, input_sizes=((9,),)), "size-mismatch", (2,), "train.py:1"),
    "another dtype": (changed(0, dtype="bfloat16"), "dtype-mismatch", (2,), "train.py:1"),
    "another reduction": (changed(0, reduce_op="max"), "reduce-op-mismatch", (2,), "train.py:1"),
    "another root": (changed(1, root=2), "root-mismatch", (2,), "train.py:2"),
    "a lone rank 0": ({rank: USUAL[1:] if rank == 0 else USUAL for rank in WORLD}, "missing-collective", (0,), "train.py:2"),
    "sends more than is expected": (
        {0: [exchange(1, (1, 2), (1, 2))], 1: [exchange(1, (2, 1), (3, 1))]},
        "splits-mismatch",
        (0, 1),
        "train.py:1",
    ),
    "an output of a wrong size": (
        {rank: [call(1, CollectiveOp.ALL_GATHER, n=8, output_sizes=((4,),) * 4)] for rank in WORLD},
        "size-mismatch",
        WORLD,
        "train.py:1",
    ),
    "nobody receives": ({0: [send(1, 1, is_async=True)], 1: []}, "send-without-recv", (0, 1), "train.py:1"),
    "nobody sends": ({0: [], 1: [recv(1, 0, is_async=True)]}, "recv-without-send", (0, 1), "train.py:1"),
    "another tag": (
        {0: [send(1, 1, tag=1, is_async=True, device=None)], 1: [recv(2, 0, tag=2, is_async=True, device=None)]},
        "send-without-recv",
        (0, 1),
        "train.py:1",
    ),
    "a message of another size": ({0: [send(1, 1, n=8)], 1: [recv(2, 0, n=9)]}, "size-mismatch", (0, 1), "train.py:1"),
    "a message of another dtype": ({0: [send(1, 1)], 1: [recv(2, 0, dtype="bfloat16")]}, "dtype-mismatch", (0, 1), "train.py:1"),
    "both send first": ({0: [send(1, 1), recv(2, 1)], 1: [send(1, 0), recv(2, 0)]}, "deadlock", (0, 1), "train.py:1"),
    "both wait for a receive before they send": (
        {rank: [recv(1, 1 - rank, is_async=True, waited_before=1), send(2, 1 - rank)] for rank in (0, 1)},
        "deadlock",
        (0, 1),
        "train.py:1",
    ),
    "two groups in another order": (
        {
            0: [call(1, process_group="1", group_ranks=(0, 1)), call(2, process_group="2", group_ranks=(0, 1))],
            1: [call(2, process_group="2", group_ranks=(0, 1)), call(1, process_group="1", group_ranks=(0, 1))],
        },
        "deadlock",
        (0, 1),
        "train.py:1",
    ),
    "groups made of other ranks": (
        {0: [call(1, process_group="1", group_ranks=(0, 1))], 1: [call(1, process_group="1", group_ranks=(1, 2))]},
        "group-mismatch",
        (0, 1, 2),
        None,
    ),
    "reached from another line": (changed(0, call_site=site("train.py:7")), "call-site-mismatch", (2,), "train.py:7"),
    "never waited for": ({rank: [call(1, is_async=True, waited=False)] for rank in WORLD}, "never-waited", WORLD, "train.py:1"),
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "code", "who", "where"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences(ranks: dict[int, Calls], code: str, who: tuple[int, ...], where: str | None) -> None:
    assert (code, who, where) in found(ranks)


ALLOWED: dict[str, dict[int, Calls]] = {
    "the same": dict.fromkeys(WORLD, USUAL),
    "one rank": {0: USUAL},
    "other shapes of as many elements": {0: [call(1, input_sizes=((2, 2),))], 1: [call(1, input_sizes=((4,),))]},
    "list and tensor": {
        0: [call(1, CollectiveOp.ALL_GATHER, n=2, output_sizes=((2,),) * 4)],
        1: [call(1, CollectiveOp.ALL_GATHER_INTO_TENSOR, n=2, output_sizes=((8,),))],
    },
    "uneven gathers": {
        rank: [call(1, CollectiveOp.ALL_GATHER, n=rank + 1, output_sizes=((1,), (2,), (3,), (4,)), process_group="g")] for rank in WORLD
    },
    "uneven exchange": {0: [exchange(1, (1, 2), (1, 3))], 1: [exchange(1, (3, 1), (2, 1))]},
    "pairs at different positions of their programs": {
        0: in_groups((0, 2), (0, 1)),
        1: in_groups((1, 3), (0, 1)),
        2: in_groups((2, 3), (0, 2)),
        3: in_groups((2, 3), (1, 3)),
    },
    "a member that is not simulated": {0: USUAL, 3: USUAL},
    "messages to ranks that are not simulated": {0: [send(1, 3)], 1: [recv(1, 2)]},
    "one sends while the other receives": {0: [send(1, 1), recv(2, 1)], 1: [recv(3, 0), send(4, 0)]},
    "both have receives in flight": {
        rank: [
            recv(1, 1 - rank, is_async=True, waited_before=2, device=None),
            send(2, 1 - rank, is_async=True, waited_before=2, device=None),
        ]
        for rank in (0, 1)
    },
    "the last call is waited for after the end": {
        rank: [call(1, is_async=True, waited_before=1), call(1, is_async=True, waited=False)] for rank in WORLD
    },
    "groups of others under one name": {
        rank: [call(1, process_group="5", group_ranks=(rank // 2 * 2, rank // 2 * 2 + 1))] for rank in WORLD
    },
}  # fmt: skip


@pytest.mark.parametrize("ranks", ALLOWED.values(), ids=ALLOWED)
def test_allowed_differences(ranks: dict[int, Calls]) -> None:
    assert found(ranks) == []


def test_a_rank_that_ends_early_is_the_one_cause() -> None:
    failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no")
    ranks = [RankRecord(rank=rank, collectives=in_order(USUAL), steps=2) for rank in (0, 1, 2)]
    ranks.append(RankRecord(rank=3, collectives=in_order(USUAL[:2]), steps=1, failure=failure))
    (finding,) = matching_findings(ranks)
    assert (finding.code, finding.severity, finding.ranks) == ("early-exit", Severity.ERROR, (3,))
    assert finding.message == (
        "rank 3 failed and never issues collective #2 of group dp (ranks 0-3): "
        "it makes no further call where ranks 0-2 call all_reduce float32[4] at train.py:3."
    )


@pytest.mark.parametrize(
    ("exits", "what"),
    [
        (("train.py:5",), "it ends itself at train.py:5"),
        (("train.py:5", "train.py:5"), "they end themselves at train.py:5"),
        (("train.py:5", "train.py:7"), "they make no further call"),
        (("train.py:5", None), "they make no further call"),
    ],
)
def test_the_line_at_which_ranks_end_themselves_is_named(exits: tuple[str | None, ...], what: str) -> None:
    ranks = [RankRecord(rank=rank, collectives=in_order(USUAL), steps=2) for rank in range(4 - len(exits))]
    for rank, line in enumerate(exits, len(ranks)):
        ranks.append(
            RankRecord(rank=rank, collectives=in_order(USUAL[:2]), steps=2, exited_at=None if line is None else site(line)),
        )
    (finding,) = matching_findings(ranks)
    assert f": {what} where rank" in finding.message


@pytest.mark.parametrize("kind", [FailureKind.GAP, FailureKind.INTERNAL, FailureKind.INTERRUPTED, FailureKind.TIMEOUT, FailureKind.SIGNAL])
def test_a_rank_that_the_simulation_ended_is_no_cause(kind: FailureKind) -> None:
    ranks = [RankRecord(rank=rank, collectives=in_order(USUAL), steps=2) for rank in (0, 1)]
    ranks.append(RankRecord(rank=2, failure=ProcessFailure(kind=kind, exception=None, message="stopped")))
    assert matching_findings(ranks) == ()


OTHER_LINES: dict[str, tuple[str, ...]] = {
    "another operation": (),  # they call it at the same line
    "left out": ("train.py:2",),
    "reached from another line": ("train.py:1",),
    "a message of another size": ("train.py:2",),
    "both send first": (),
    "two groups in another order": ("train.py:2",),
}


@pytest.mark.parametrize(("difference", "lines"), OTHER_LINES.items(), ids=OTHER_LINES)
def test_the_lines_of_the_other_ranks(difference: str, lines: tuple[str, ...]) -> None:
    ranks, code, _, where = DIFFERENCES[difference]
    (finding,) = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ranks.items()])
    assert (finding.code, text(finding.call_site)) == (code, where)
    assert tuple(map(str, finding.other_call_sites)) == lines
    assert all(line in finding.message for line in lines)


def test_messages_name_both_sides() -> None:
    (finding,) = matching_findings(
        [RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in changed(0, dtype="int64").items()]
    )
    assert finding.message == (
        "rank 2 disagrees on the dtype of collective #0 of group dp (ranks 0-3): "
        "it calls all_reduce int64[8] at train.py:1 where ranks 0-1 and 3 call all_reduce float32[8] at train.py:1."
    )


def made(*groups: tuple[int, ...], line: int = 1, before: int = 0) -> tuple[GroupCreation, ...]:
    return tuple(
        GroupCreation(ranks=ranks, before=before, call_site=site(f"groups.py:{line + number}")) for number, ranks in enumerate(groups)
    )


NEW_GROUPS: dict[str, tuple[dict[int, tuple[GroupCreation, ...]], tuple[int, ...] | None, str | None]] = {
    "the same": (dict.fromkeys(WORLD, made((0, 1), (2, 3))), None, None),
    "from other lines": ({rank: made((0, 1), (2, 3), line=10 * rank) for rank in WORLD}, None, None),
    "one call for all, or one each": (
        {0: (GroupCreation(ranks=(0, 1, 2, 3), count=2, before=0),), 1: made((0, 1), (2, 3))},
        None,
        None,
    ),
    "one left out": ({**dict.fromkeys((0, 1, 2), made((0, 1), WORLD)), 3: made(WORLD, line=7)}, (3,), "groups.py:7"),
    "the last left out": ({**dict.fromkeys((0, 1, 2), made((0, 1), WORLD)), 3: made((0, 1))}, (3,), "groups.py:2"),
    "another order": ({**dict.fromkeys((1, 2, 3), made((0, 1), (2, 3))), 0: made((2, 3), (0, 1))}, (0,), "groups.py:1"),
    "no two the same": ({rank: made((rank,), line=rank) for rank in WORLD}, WORLD, "groups.py:1"),
    "made by its members alone": (
        {rank: (GroupCreation(ranks=pair, callers=pair, before=0),) for pair in ((0, 1), (2, 3)) for rank in pair},
        None,
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "who", "where"), NEW_GROUPS.values(), ids=NEW_GROUPS)
def test_new_groups(groups: dict[int, tuple[GroupCreation, ...]], who: tuple[int, ...] | None, where: str | None) -> None:
    """What differs after a group that ranks create differently is a consequence."""
    ranks = [RankRecord(rank=rank, group_creations=each, collectives=in_order(USUAL)) for rank, each in groups.items()]
    if who is not None:
        ranks[-1] = replace(ranks[-1], collectives=in_order(USUAL[:2]))
    found = [(finding.code, finding.ranks, text(finding.call_site)) for finding in matching_findings(ranks)]
    assert found == ([] if who is None else [("group-mismatch", who, where)])


def test_after_a_creation_mismatch_names_of_groups_are_not_compared() -> None:
    """Rank 2 creates a group less: what it calls group 1 is what the others call group 2."""
    groups = {0: made((0, 1), (1, 2)), 1: made((0, 1), (1, 2)), 2: made((1, 2))}
    calls = {0: call(5, process_group="1", group_ranks=(0, 1)), 1: call(5, process_group="1", group_ranks=(0, 1))}
    calls[2] = call(6, process_group="1", group_ranks=(1, 2))
    findings = matching_findings(
        [RankRecord(rank=rank, group_creations=groups[rank], collectives=in_order([calls[rank]])) for rank in calls]
    )
    assert [(finding.code, finding.ranks) for finding in findings] == [("group-mismatch", (2,))]
    assert findings[0].message == (
        "ranks do not create the same process groups in the same order. They diverge at process group #0: "
        "rank 2 creates a group of ranks 1-2 at groups.py:1; ranks 0-1 create a group of ranks 0-1 at groups.py:1."
    )


def test_a_call_on_a_group_that_the_rank_is_not_in() -> None:
    pair = call(5, process_group="1", group="pair", group_ranks=(0, 1))
    findings = matching_findings([RankRecord(rank=rank, collectives=in_order([pair, USUAL[0]])) for rank in WORLD])
    assert [(finding.code, finding.ranks, text(finding.call_site)) for finding in findings] == [("non-member", (2, 3), "train.py:5")]
    assert findings[0].message == (
        "ranks 2-3 call all_reduce float32[8] at train.py:5 on group pair (ranks 0-1) without being members: the call does nothing there."
    )
