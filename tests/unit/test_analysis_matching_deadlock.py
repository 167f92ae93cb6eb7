"""Who waits for whom: deadlocks and what only looks like one, calls in flight together, and which mismatch is the root cause."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching import matching_findings
from fakerun.analysis.matching.compare.group_classes import group_classes
from fakerun.analysis.matching.compare.interning import InternedCalls
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding_code import Severity
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from tests.unit.calls_by_hand import WORLD, Calls, call, found, recv, send
from tests.unit.records_by_hand import in_order, site, text

DP, TP = {0: (0, 2), 1: (1, 3), 2: (0, 2), 3: (1, 3)}, {0: (0, 1), 1: (0, 1), 2: (2, 3), 3: (2, 3)}
SIX = tuple(range(6))
LATER: dict[str, Any] = {"is_async": True, "waited_before": 99}


def pair(line: int, name: str, ranks: tuple[int, ...], **fields: Any) -> CollectiveRecord:
    return call(line, process_group=name, group=name, group_ranks=ranks, **fields)


def relay(rank: int, size: int, **fields: Any) -> Calls:
    """What comes from the rank before goes to the one after."""
    received = [recv(1, rank - 1, **fields)] if rank > 0 else []
    return [*received, *([send(2, rank + 1, **fields)] if rank < size - 1 else [])]


def exchange_batches(rank: int, *, apart: bool) -> Calls:
    """What goes to the other one and what comes from it, in one batch or in one each; waited for after both."""
    first, second = (0, 1) if apart else (0, 0)
    return [recv(1, 1 - rank, coalesced=first, **LATER), send(2, 1 - rank, coalesced=second, **LATER)]


HANG: dict[str, tuple[dict[int, Calls], tuple[int, ...]]] = {
    "a ring of sends": ({rank: [send(1, (rank + 1) % 4), recv(2, (rank - 1) % 4)] for rank in WORLD}, WORLD),
    "asynchronous, both in one order": ({rank: [send(1, 1 - rank, **LATER), recv(2, 1 - rank, **LATER)] for rank in (0, 1)}, (0, 1)),
    "a batch of receives before one of sends": ({rank: exchange_batches(rank, apart=True) for rank in (0, 1)}, (0, 1)),
    "a batch that ends when another has ended": (
        {
            0: [send(1, 1, coalesced=0, is_async=True, waited_before=2), send(1, 2, coalesced=0, is_async=True, waited_before=2)],
            1: [recv(2, 0, coalesced=0, is_async=True, waited_before=1), send(3, 2, coalesced=1, is_async=True, waited_before=2)],
            2: [recv(4, 1, coalesced=0, is_async=True, waited_before=2), recv(4, 0, coalesced=0, is_async=True, waited_before=2)],
        },
        (0, 1, 2),
    ),
    "a cycle through three groups": (
        {
            0: [pair(1, "a", (0, 1)), pair(2, "c", (0, 2))],
            1: [pair(2, "b", (1, 2)), pair(1, "a", (0, 1))],
            2: [pair(3, "c", (0, 2)), pair(2, "b", (1, 2))],
        },
        (0, 1, 2),
    ),
    "asynchronous, but waited for before the other group's": (
        {
            0: [pair(1, "a", (0, 1), is_async=True, waited_before=1), pair(2, "b", (0, 1))],
            1: [pair(2, "b", (0, 1), is_async=True, waited_before=1), pair(1, "a", (0, 1))],
        },
        (0, 1),
    ),
    "the same in two places": (
        {rank: [send(1, rank ^ 1, group_ranks=TP[rank]), recv(2, rank ^ 1, group_ranks=TP[rank])] for rank in WORLD},
        WORLD,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "who"), HANG.values(), ids=HANG)
def test_deadlocks(ranks: dict[int, Calls], who: tuple[int, ...]) -> None:
    assert [(code, named) for code, named, _ in found(ranks) if code != "call-site-mismatch"] == [("deadlock", who)]


FINE: dict[str, dict[int, Calls]] = {
    "a relay, in which the ranks between do the same": {rank: relay(rank, 6, group_ranks=SIX) for rank in SIX},
    "two relays": {
        rank: relay(rank % 3, 3, group_ranks=(0, 1, 2))
        if rank < 3
        else [replace(each, group_ranks=(3, 4, 5), peer=(each.peer or 0) + 3) for each in relay(rank % 3, 3)]
        for rank in SIX
    },
    "one batch for both ways": {rank: exchange_batches(rank, apart=False) for rank in (0, 1)},
    "batches on gloo, which knows none": {
        rank: [replace(each, device=None) for each in exchange_batches(rank, apart=True)] for rank in (0, 1)
    },
    "two pairs of ranks, which do not wait for each other": {
        0: [send(1, 1, **LATER), recv(2, 2, **LATER)],
        1: [recv(3, 0, **LATER), send(4, 2, **LATER)],
        2: [recv(5, 1, **LATER), send(6, 0, **LATER)],
    },
    "one order here, another there, and nobody waits between": {
        rank: [pair(1, "a", (0, 1), device=None, **LATER), pair(2, "b", (0, 1), device=None, **LATER)][:: 1 - 2 * rank] for rank in (0, 1)
    },
    "a wait in time": {
        0: [send(1, 1, is_async=True, waited_before=2), recv(2, 1)],
        1: [recv(3, 0), send(4, 0)],
    },
}  # fmt: skip


@pytest.mark.parametrize("ranks", FINE.values(), ids=FINE)
def test_no_deadlocks(ranks: dict[int, Calls]) -> None:
    assert found(ranks) == []


def test_a_deadlock_names_each_rank_its_call_and_the_peer() -> None:
    ranks = HANG["asynchronous, both in one order"][0]
    (finding,) = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ranks.items()])
    assert finding.message == (
        "ranks 0-1 wait for each other: "
        "rank 0 in send float32[8] to rank 1 at train.py:1; rank 1 in send float32[8] to rank 0 at train.py:1."
    )


# -- calls of two groups in flight together -----------------------------------------------------------------------------------------------


def both(rank: int, *, turned: bool, **fields: Any) -> Calls:
    calls = [pair(1, "a", WORLD, **fields), pair(2, "b", WORLD, **fields)]
    return calls[::-1] if turned else calls


INVERTED: dict[str, tuple[dict[int, Calls], tuple[int, ...] | None]] = {
    "one of four": ({rank: both(rank, turned=rank == 3, **LATER) for rank in WORLD}, (3,)),
    "one of two": ({rank: both(rank, turned=rank == 1, **LATER) for rank in (0, 1)}, (0, 1)),
    "all in one order": ({rank: both(rank, turned=True, **LATER) for rank in WORLD}, None),
    "on gloo": ({rank: both(rank, turned=rank == 3, device=None, **LATER) for rank in WORLD}, None),
    "the first has ended": ({rank: [pair(1, "a", WORLD), pair(2, "b", WORLD)] for rank in WORLD}, None),
    "groups that share one rank": (
        {0: [pair(1, "a", (0, 1), **LATER), pair(2, "b", (0, 2), **LATER)], 1: [pair(1, "a", (0, 1), **LATER)], 2: [pair(2, "b", (0, 2))]},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "who"), INVERTED.values(), ids=INVERTED)
def test_order_inversions(ranks: dict[int, Calls], who: tuple[int, ...] | None) -> None:
    findings = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ranks.items()])
    assert [(finding.code, finding.severity, finding.ranks) for finding in findings] == (
        [] if who is None else [("order-inversion", Severity.WARNING, who)]
    )


def codes(ranks: Mapping[int, Calls]) -> list[tuple[str, tuple[int, ...]]]:
    return [(code, named) for code, named, _ in found(ranks)]


def test_groups_that_are_desynchronised_are_not_looked_at_for_inversions() -> None:
    """Rank 3 skips a call of b: its later calls of b are matched with others, in any order."""
    calls = [pair(line, "ab"[line % 2], WORLD, **LATER) for line in range(1, 7)]
    assert codes({rank: calls[rank == 3 :] for rank in WORLD}) == [("missing-collective", (3,))]


def test_groups_that_disagree_on_a_dtype_alone_are() -> None:
    ranks = {rank: both(rank, turned=rank == 3, **LATER) for rank in WORLD}
    ranks[2] = [replace(each, dtype="int64") if each.group == "a" else each for each in ranks[2]]
    assert codes(ranks) == [("dtype-mismatch", (2,)), ("order-inversion", (3,))]


def test_groups_without_the_same_members_are_not() -> None:
    """The group c10d calls a has other members for ranks 0 and 1 than for rank 2."""
    ranks = {rank: [pair(1, "a", (0, 1, 3), **LATER), pair(2, "b", WORLD, **LATER)] for rank in (0, 1)}
    ranks[1] = ranks[1][::-1]
    ranks[2] = [pair(1, "a", (1, 2), **LATER), pair(2, "b", WORLD, **LATER)]
    assert codes(ranks) == [("group-mismatch", (0, 1, 2, 3))]


def test_calls_of_groups_without_the_same_members_are_not_compared() -> None:
    ranks = {rank: [pair(1, "a", (0, 1, 3), dtype=("int64", "int32")[rank])] for rank in (0, 1)}
    assert codes({**ranks, 2: [pair(1, "a", (1, 2))]}) == [("group-mismatch", (0, 1, 2, 3))]


def test_an_inversion_that_is_a_deadlock_is_reported_as_one() -> None:
    """Rank 0 has both calls in flight, ranks 1 and 2 wait for each of theirs, in opposite orders."""
    a, b = pair(1, "a", (0, 1, 2)), pair(2, "b", (0, 1, 2))
    asynchronous = [replace(each, **LATER) for each in (a, b)]
    assert codes({0: asynchronous, 1: [b, a], 2: [a, b]}) == [("deadlock", (1, 2))]


def test_an_inversion_names_both_groups() -> None:
    """Two groups of all ranks have one label: c10d's names tell them apart."""
    calls = [pair(line, "world", WORLD, **LATER) for line in (1, 2)]
    calls = [replace(each, process_group=str(number)) for number, each in enumerate(calls)]
    (finding,) = matching_findings([RankRecord(rank=rank, collectives=in_order(calls[:: -1 if rank == 3 else 1])) for rank in WORLD])
    assert finding.message == (
        "rank 3 starts all_reduce float32[8] at train.py:2 (collective #0 of group world (ranks 0-3, process group 1)) "
        "before all_reduce float32[8] at train.py:1 (collective #0 of group world (ranks 0-3, process group 0)), "
        "ranks 0-2 start them in the opposite order at train.py:1 and at train.py:2, and both are in flight together."
    )


# -- causes and consequences -------------------------------------------------------------------------------------------------------------


def step(rank: int, step: int = 0) -> list[CollectiveRecord]:
    """A step on a mesh of 2 x 2: twice over tp, then over dp."""
    tp = [pair(line, "tp", TP[rank], step=step, n=4) for line in (1, 2)]
    return [*tp, pair(3, "dp", DP[rank], step=step)]


def records(ranks: Mapping[int, Calls], steps: Sequence[int] = (), failed: Mapping[int, str] | None = None) -> list[RankRecord]:
    failures = {
        rank: ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no", call_site=site(where))
        for rank, where in (failed or {}).items()
    }
    return [
        RankRecord(rank=rank, collectives=in_order(calls), steps=steps[rank] if steps else 2, failure=failures.get(rank))
        for rank, calls in ranks.items()
    ]


def two_steps(rank: int) -> list[CollectiveRecord]:
    return step(rank, 0) + step(rank, 1)


def without(rank: int, index: int) -> list[CollectiveRecord]:
    calls = two_steps(rank)
    return calls[:index] + calls[index + 1 :]


def in_bfloat16(rank: int, *groups: str) -> list[CollectiveRecord]:
    return [replace(each, dtype="bfloat16") if each.group in groups else each for each in two_steps(rank)]


ALL_RANKS = {rank: two_steps(rank) for rank in WORLD}

HANGS = "As a result ranks 0 and 2-3 hang in groups dp and tp."

CAUSES: dict[str, tuple[list[RankRecord], list[tuple[str, tuple[int, ...], str | None]], str]] = {
    "a call left out in one group": (
        records({**ALL_RANKS, 1: without(1, 3)}),
        [("missing-collective", (1,), "train.py:2")],
        "rank 1 skips collective #2 of group tp (ranks 0-1): it calls all_reduce float32[4] at train.py:2 "
        "where rank 0 calls all_reduce float32[4] at train.py:1. " + HANGS,
    ),
    "a whole step left out": (
        records({**ALL_RANKS, 1: step(1)}),
        [("missing-collective", (1,), "train.py:1")],
        "rank 1 never issues collective #2 of group tp (ranks 0-1): it makes no further call "
        "where rank 0 calls all_reduce float32[4] at train.py:1. " + HANGS,
    ),
    "a step too few": (
        records({**ALL_RANKS, 1: step(1)}, steps=(2, 1, 2, 2)),
        [("uneven-steps", (1,), "train.py:1")],
        "rank 1 completes 1 step, the others 2, so they diverge at collective #2 of group tp (ranks 0-1): "
        "it makes no further call where rank 0 calls all_reduce float32[4] at train.py:1. " + HANGS,
    ),
    "a rank that fails": (
        records({**ALL_RANKS, 1: step(1)}, steps=(2, 1, 2, 2), failed={1: "train.py:9"}),
        [("early-exit", (1,), "train.py:9")],
        "rank 1 failed and never issues collective #2 of group tp (ranks 0-1): "
        "it makes no further call where rank 0 calls all_reduce float32[4] at train.py:1. " + HANGS,
    ),
    "a rank that fails before a message": (
        records({0: [send(1, 1), recv(2, 2)], 1: [], 2: [send(3, 0)]}, failed={1: "train.py:9"}),
        [("early-exit", (1,), "train.py:9")],
        "rank 1 failed: rank 0 hangs sending message #0 to it at train.py:1. As a result ranks 0 and 2 hang in group dp.",
    ),
    "the same in every group": (
        records({rank: two_steps(rank) if rank % 2 == 0 else in_bfloat16(rank, "tp") for rank in WORLD}),
        [("dtype-mismatch", (1, 3), "train.py:1")],
        "rank 1 disagrees on the dtype of collective #0 of group tp (ranks 0-1): it calls all_reduce bfloat16[4] at train.py:1 "
        "where rank 0 calls all_reduce float32[4] at train.py:1. The same mismatch occurs in 1 other group.",
    ),
    "one rank's model in another dtype": (
        records({**ALL_RANKS, 3: in_bfloat16(3, "tp", "dp")}),
        [("dtype-mismatch", (3,), "train.py:1")],
        "rank 3 disagrees on the dtype of collective #0 of group tp (ranks 2-3): it calls all_reduce bfloat16[4] at train.py:1 "
        "where rank 2 calls all_reduce float32[4] at train.py:1. The same ranks also disagree in group dp.",
    ),
    "a longer program than most have": (
        records({rank: [call(1), call(1)] if rank == 2 else [call(1)] for rank in WORLD}),
        [("extra-collective", (2,), "train.py:1")],
        "rank 2 issues collective #1 of group dp (ranks 0-3), which the others do not: it calls all_reduce float32[8] at train.py:1 "
        "where ranks 0-1 and 3 make no further call.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ranks", "expected", "message"), CAUSES.values(), ids=CAUSES)
def test_one_cause_is_one_finding(ranks: list[RankRecord], expected: list[tuple[str, tuple[int, ...], str | None]], message: str) -> None:
    findings = [finding for finding in matching_findings(ranks) if finding.severity is Severity.ERROR]
    assert [(finding.code, finding.ranks, text(finding.call_site)) for finding in findings] == expected
    assert findings[0].message == message


def test_two_bugs_are_two_findings() -> None:
    ranks = {
        0: [pair(1, "a", (0, 1)), pair(2, "a", (0, 1))],
        1: [pair(1, "a", (0, 1))],
        2: [pair(1, "b", (2, 3), dtype="int64")],
        3: [pair(1, "b", (2, 3))],
    }
    assert [(code, who) for code, who, _ in found(ranks)] == [("dtype-mismatch", (3,)), ("missing-collective", (1,))]


def test_a_cycle_that_a_mismatch_explains_is_no_deadlock() -> None:
    """Rank 3 skips a call of b and waits in a, where the others arrive only after b."""
    calls = [pair(line, "ab"[line % 2], WORLD) for line in range(1, 7)]
    assert found({rank: calls[rank == 3 :] for rank in WORLD}) == [("missing-collective", (3,), "train.py:3")]


def test_a_cycle_that_a_mismatch_may_explain_is_no_deadlock() -> None:
    """Which of two equal receives is missing is not known; that the first is missing explains why the ranks wait for each other."""
    ranks = {
        0: [send(1, 1), recv(2, 1), send(1, 1), recv(2, 1)],
        1: [send(4, 0), recv(3, 0), send(4, 0)],
    }
    assert found(ranks) == [("send-without-recv", (0, 1), "train.py:1")]


def test_a_rank_does_not_wait_for_one_that_waits_beside_it() -> None:
    """Three pairs of ranks in a ring, neighbouring pairs share a group: all ranks are of one class, but 0 and 1 both wait for 2 and 3."""
    pairs = [(0, 1), (2, 3), (4, 5)]
    ranks: dict[int, Calls] = {}
    for number, members in enumerate(pairs):
        after, before = pairs[(number + 1) % 3], pairs[number - 1]
        calls = [pair(1, f"group {number}", (*members, *after)), pair(1, f"group {(number - 1) % 3}", (*before, *members))]
        ranks |= dict.fromkeys(members, calls)
    assert found(ranks) == [("deadlock", (0, 2, 4), "train.py:1")]


def test_a_rank_is_named_in_one_deadlock() -> None:
    """Rank 0 sends to two ranks that also send to it first: fixing one of the two deadlocks shows the other."""
    exchanges = {0: [call for peer in (1, 2) for call in (send(peer, peer, **LATER), recv(peer, peer, **LATER))]}
    exchanges |= {rank: [send(3, 0, **LATER), recv(4, 0, **LATER)] for rank in (1, 2)}
    assert found(exchanges) == [("deadlock", (0, 1), "train.py:1")]


# -- many ranks --------------------------------------------------------------------------------------------------------------------------


def cube(rank: int) -> Calls:
    """A mesh of pp 4 x dp 8 x tp 2."""
    stage, column = divmod(rank, 16)
    dp, tp = tuple(range(stage * 16 + rank % 2, stage * 16 + 16, 2)), (rank & ~1, rank | 1)
    message: dict[str, Any] = {"process_group": "pp", "group": "pp", "group_ranks": tuple(range(column, 64, 16))}
    received = [recv(1, rank - 16, **message)] if stage > 0 else []
    sent = [send(4, rank + 16, **message)] if stage < 3 else []
    return [*received, pair(2, "tp", tp), pair(3, "tp", tp), *sent, pair(5, "dp", dp)]


def test_groups_of_one_class_are_compared_once() -> None:
    """Four stages: of tp and dp as many kinds of groups as there are kinds of ranks (first, between, last), and one of pp."""
    world = SimulatedWorld([RankRecord(rank=rank, collectives=in_order(cube(rank))) for rank in range(64)])
    assert len(world.groups) == 4 * 8 + 4 * 2 + 16
    assert len(group_classes(world, InternedCalls(world))) == 3 + 3 + 1
    assert found({rank: cube(rank) for rank in range(64)}) == []


def test_one_of_many_ranks_skips_a_call() -> None:
    ranks = {rank: cube(rank) for rank in range(64)}
    ranks[37] = [*ranks[37][:2], *ranks[37][3:]]
    assert found(ranks) == [("missing-collective", (37,), "train.py:3")]


LONG = tuple(range(200))


def test_a_long_relay_has_no_cycle() -> None:
    assert found({rank: relay(rank, len(LONG), group_ranks=LONG) for rank in LONG}) == []


def test_a_long_ring_is_one_deadlock() -> None:
    ring = {rank: [send(1, (rank + 1) % 200, group_ranks=LONG), recv(2, (rank - 1) % 200, group_ranks=LONG)] for rank in LONG}
    (finding,) = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ring.items()])
    assert (finding.code, finding.ranks, text(finding.call_site)) == ("deadlock", LONG, "train.py:1")
    assert finding.message.startswith("ranks 0-199 wait for each other: rank 0 in send float32[8] to rank 1 at train.py:1; ")
    assert finding.message.endswith("; rank 7 in send float32[8] to rank 8 at train.py:1; and 192 more.")


def chain(rank: int, size: int) -> Calls:
    """Neighbours reduce in pairs, the last pair first: each rank waits for those after it."""
    after = [pair(1, f"pair {rank}", (rank, rank + 1))] if rank < size - 1 else []
    before = [pair(2, f"pair {rank - 1}", (rank - 1, rank))] if rank > 0 else []
    return [replace(each, group="pair") for each in (*after, *before)]


def test_equal_ranks_are_distinguished_at_any_distance_from_the_cause() -> None:
    """Rank 100 skips the pair with the rank before it. The ranks before it hang; those after it, which do the same calls, do not."""
    ranks = {rank: chain(rank, 200) for rank in LONG}
    ranks[100] = ranks[100][:1]
    findings = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ranks.items()])
    (error,) = [finding for finding in findings if finding.severity is Severity.ERROR]
    assert (error.code, error.ranks) == ("missing-collective", (100,))
    assert error.message.endswith("As a result ranks 0-99 hang in group pair.")


def test_differences_beyond_the_first_are_counted() -> None:
    """Each pair of ranks differs on a line of its own."""
    pairs = {rank: [pair(rank // 2, "a", (rank & ~1, rank | 1), dtype=("int64", "int32")[rank % 2])] for rank in LONG}
    findings = matching_findings([RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in pairs.items()])
    assert len(findings) == 64
    assert findings[-1].message.endswith(" 36 further mismatches were not analysed.")


def test_the_same_bug_in_groups_that_differ_elsewhere_is_one_finding() -> None:
    """Every other tensor parallel pair of the cube leaves the call out on its second rank, whatever stage it is in."""
    ranks = {rank: cube(rank) for rank in range(64)}
    outliers = tuple(range(1, 64, 4))
    for rank in outliers:
        ranks[rank] = [each for each in ranks[rank] if str(each.call_site) != "train.py:3"]
    assert found(ranks) == [("missing-collective", outliers, "train.py:3")]
