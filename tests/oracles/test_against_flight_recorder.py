"""Our verdict over several ranks against that of torch's flight recorder analyser, which has some of the same questions.

Where it has an answer that is right, ours is the same: the same kind of fault, of the same ranks, at the same collective of the same
group. Where it is wrong, the table shows both answers.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.analysis.matching import matching_findings
from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import FindingCode, RecorderVerdict, Severity
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.records.store import RecordStore
from fakerun.testing import with_dist
from tests.commands import fakerun
from tests.oracles.flight_recorder import MATCHED, MESSAGES_DIFFER, NOT_ALL_JOINING, Library, Verdict, verdicts
from tests.unit.records_by_hand import collective, in_order

pytest.importorskip("torch.distributed.flight_recorder", reason="this torch has no flight recorder analyser in its package")

OTHER_TYPE = "COLLECTIVE_TYPE_MISMATCH"
OTHER_SIZE = "SIZE_OR_SYNTAX_MISMATCH"
OTHER_DTYPE = "COLLECTIVE_DTYPE_MISMATCH"
OTHER_STATE = "COLLECTIVE_STATE_MISMATCH"

_VERDICTS = {
    NOT_ALL_JOINING: RecorderVerdict.NOT_ALL_JOINING,
    OTHER_TYPE: RecorderVerdict.TYPE,
    OTHER_SIZE: RecorderVerdict.SIZE,
    OTHER_DTYPE: RecorderVerdict.DTYPE,
    OTHER_STATE: RecorderVerdict.STATE,
}

KINDS: Mapping[str, frozenset[str]] = {
    state: frozenset(code for code in FindingCode if verdict in code.verdicts) for state, verdict in _VERDICTS.items()
}
"""What the analyser sees as a difference at one position may be the trace of a call left out, added or in another order. Where sizes
and dtypes differ, it speaks of sizes, we of dtypes."""

Calls = Sequence[CollectiveRecord]
Ranks = Mapping[int, Calls]
WORLD = (0, 1, 2, 3)


def call(line: int, op: CollectiveOp = CollectiveOp.ALL_REDUCE, given: Any = (8,), gotten: Any = None, **fields: Any) -> CollectiveRecord:
    """A call on all ranks, or on the group given: one tensor each way, or a list of them; by default as much comes out as goes in."""
    gotten = given if gotten is None else gotten
    sizes: dict[str, Any] = {"input_sizes": _several(given), "output_sizes": _several(gotten)}
    return collective(op, **{"process_group": "0", "group_ranks": WORLD, "call_site": f"train.py:{line}", **sizes, **fields})


def _several(sizes: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(sizes) if isinstance(sizes, list) else (sizes,)


def message(line: int, op: CollectiveOp, peer: int, given: Any = (8,), **fields: Any) -> CollectiveRecord:
    pair: dict[str, Any] = {"group_ranks": (0, 1), "process_group": "1"}
    sizes = (given, []) if op is CollectiveOp.SEND else ([], given)
    return call(line, op, *sizes, **{**pair, "peer": peer, **fields})


def exchange(line: int, sent: Sequence[int], received: Sequence[int], **fields: Any) -> CollectiveRecord:
    splits: dict[str, Any] = {"input_splits": tuple(sent), "output_splits": tuple(received)}
    return call(line, CollectiveOp.ALL_TO_ALL_SINGLE, (sum(sent), 2), (sum(received), 2), **splits, **fields)


def lists(line: int, sent: Sequence[int], received: Sequence[int]) -> CollectiveRecord:
    return call(line, CollectiveOp.ALL_TO_ALL, [(n,) for n in sent], [(n,) for n in received], group_ranks=(0, 1))


def with_rank(outlier: int, change: Callable[[list[CollectiveRecord]], Calls]) -> Ranks:
    return {rank: change(list(USUAL)) if rank == outlier else USUAL for rank in WORLD}


def with_field(outlier: int, position: int, **fields: Any) -> Ranks:
    return with_rank(outlier, lambda calls: [replace(each, **fields) if i == position else each for i, each in enumerate(calls)])


USUAL = (
    call(1),
    call(2, CollectiveOp.BROADCAST, root=0),
    call(3, CollectiveOp.ALL_GATHER_INTO_TENSOR, (2,), (8,)),
    call(4, CollectiveOp.REDUCE_SCATTER_TENSOR, (8,), (2,), reduce_op="sum"),
    call(5, CollectiveOp.REDUCE, (3,), root=1, reduce_op="sum"),
    call(6, CollectiveOp.BARRIER, [], dtype=""),
)


def every_kind(rank: int) -> Calls:
    """Each operation in each of its forms."""
    four = [(2,)] * 4
    uneven = [(1,), (2,), (3,), (4,)]
    first = rank == 0
    return (
        *USUAL,
        call(11, CollectiveOp.ALL_GATHER, (2,), four),
        call(12, CollectiveOp.REDUCE_SCATTER, four, (2,)),
        call(13, CollectiveOp.ALL_GATHER, uneven[rank], uneven),
        call(14, CollectiveOp.REDUCE_SCATTER, uneven, uneven[rank]),
        call(15, CollectiveOp.GATHER, (2,), four if first else [], root=0),
        call(16, CollectiveOp.SCATTER, four if first else [], (2,), root=0),
        call(17, CollectiveOp.ALL_TO_ALL, four),
        call(18, CollectiveOp.ALL_TO_ALL_SINGLE),
        call(19, given=[(2,), (3, 3)]),
        call(20, CollectiveOp.ALL_GATHER_INTO_TENSOR, [(2,), (3,)], [(8,), (12,)]),
        call(21, CollectiveOp.REDUCE_SCATTER_TENSOR, [(8,), (12,)], [(2,), (3,)], reduce_op="sum"),
        call(22, given=(3,), coalesced=0),
        call(23, given=(4,), coalesced=0),
        call(24, dtype="int64", device="cpu"),
    )


def in_pairs(rank: int) -> Calls:
    first = rank // 2 * 2
    return (
        call(1),
        call(2, given=(5,), group="tp", process_group="3", group_ranks=(first, first + 1)),
        call(3),
        call(4, given=(6,), group="tp", process_group="3", group_ranks=(first, first + 1)),
    )


Theirs = tuple[str, int | None, tuple[int, ...]]
"""What the analyser finds, at which collective of a group, and whom it blames."""
Ours = tuple[str, tuple[int, ...], str]
"""Code, ranks and call site of our finding."""

SAME_ANSWER: dict[str, tuple[Ranks, Theirs | None, Ours | None]] = {
    "the same on all": (dict.fromkeys(WORLD, USUAL), None, None),
    "every operation": ({rank: every_kind(rank) for rank in WORLD}, None, None),
    "groups of their own": ({rank: in_pairs(rank) for rank in WORLD}, None, None),
    "a message": ({0: [message(1, CollectiveOp.SEND, 1)], 1: [message(2, CollectiveOp.RECV, 0)]}, None, None),
    "messages issued as one": (
        {
            0: [message(1, CollectiveOp.SEND, 1, (n,), coalesced=0) for n in (8, 9)],
            1: [message(2, CollectiveOp.RECV, 0, (n,), coalesced=0) for n in (8, 9)],
        },
        None,
        None,
    ),
    "another operation": (
        with_field(2, 0, op=CollectiveOp.REDUCE, root=0),
        (OTHER_TYPE, 0, (2,)),
        ("operation-mismatch", (2,), "train.py:1"),
    ),
    "another size": (
        with_field(2, 0, input_sizes=((9,),), output_sizes=((9,),)),
        (OTHER_SIZE, 0, (2,)),
        ("size-mismatch", (2,), "train.py:1"),
    ),
    "another part to gather": (
        with_field(2, 2, input_sizes=((3,),), output_sizes=((12,),)),
        (OTHER_SIZE, 2, (2,)),
        ("size-mismatch", (2,), "train.py:3"),
    ),
    "another dtype": (with_field(2, 1, dtype="bfloat16"), (OTHER_DTYPE, 1, (2,)),
        ("dtype-mismatch", (2,), "train.py:2")),
    "left out": (
        with_rank(2, lambda calls: [calls[0], *calls[2:]]),
        (OTHER_TYPE, 1, (2,)),
        ("missing-collective", (2,), "train.py:3"),
    ),
    "left out at the end": (with_rank(2, lambda calls: calls[:5]), (NOT_ALL_JOINING, 5, (2,)),
        ("missing-collective", (2,), "train.py:6")),
    "never joins": (with_rank(2, lambda calls: []), (NOT_ALL_JOINING, 0, (2,)),
        ("missing-collective", (2,), "train.py:1")),
    "one too many": (
        with_rank(2, lambda calls: [calls[0], call(9), *calls[1:]]),
        (OTHER_TYPE, 1, (2,)),
        ("extra-collective", (2,), "train.py:9"),
    ),
    "in another order": (
        with_rank(2, lambda calls: [calls[0], calls[2], calls[1], *calls[3:]]),
        (OTHER_TYPE, 1, (2,)),
        ("swapped-collectives", (2,), "train.py:3"),
    ),
    "in one of two groups": (
        {rank: in_pairs(rank)[:3] if rank == 3 else in_pairs(rank) for rank in WORLD},
        (NOT_ALL_JOINING, 1, (3,)),
        ("missing-collective", (3,), "train.py:4"),
    ),
    "exchanges that give more than is expected": (
        {0: [exchange(1, (1, 2), (1, 2), group_ranks=(0, 1))], 1: [exchange(1, (2, 1), (3, 1), group_ranks=(0, 1))]},
        (OTHER_SIZE, 0, (0,)),
        ("splits-mismatch", (0, 1), "train.py:1"),
    ),
    "a message of another size": (
        {0: [message(1, CollectiveOp.SEND, 1, (8,))], 1: [message(2, CollectiveOp.RECV, 0, (9,))]},
        (OTHER_SIZE, None, (1,)),
        ("size-mismatch", (0, 1), "train.py:1"),
    ),
    "nobody receives": (
        {0: [message(1, CollectiveOp.SEND, 1, is_async=True)], 1: []},
        (NOT_ALL_JOINING, None, (1,)),
        ("send-without-recv", (0, 1), "train.py:1"),
    ),
    "messages of another size, issued as one": (
        {0: [message(1, CollectiveOp.SEND, 1, (8,), coalesced=0)], 1: [message(2, CollectiveOp.RECV, 0, (9,), coalesced=0)]},
        (MESSAGES_DIFFER, None, ()),
        ("size-mismatch", (0, 1), "train.py:1"),
    ),
}  # fmt: skip


def records_of(ranks: Ranks) -> list[RankRecord]:
    return [RankRecord(rank=rank, collectives=in_order(calls)) for rank, calls in ranks.items()]


def theirs(records: Sequence[RankRecord], library: Library = Library.NCCL) -> list[Theirs]:
    if torch.__version__ < "2.13" and (
        library is not Library.NCCL or any(c.device is None for record in records for c in record.collectives)
    ):
        pytest.skip("the analyser of torch 2.11 reads records of NCCL alone")
    said = verdicts(records, library)
    assert said, "the analyser has no verdict"
    return [(verdict.state, verdict.position, verdict.culprits) for verdict in said if verdict.state != MATCHED]


def ours(records: Sequence[RankRecord]) -> list[Ours]:
    """Errors only: what else is noticed does not keep the ranks from working together."""
    errors = [finding for finding in matching_findings(records) if finding.severity is Severity.ERROR]
    return [(error.code, error.ranks, str(error.call_site)) for error in errors]


@pytest.mark.parametrize(("ranks", "they_say", "we_say"), SAME_ANSWER.values(), ids=SAME_ANSWER)
def test_both_report_the_same(ranks: Ranks, they_say: Theirs | None, we_say: Ours | None) -> None:
    records = records_of(ranks)
    assert theirs(records) == ([they_say] if they_say else [])
    assert ours(records) == ([we_say] if we_say else [])


def test_a_rank_that_failed_is_not_done_with_what_it_waits_for() -> None:
    failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no")
    begun = in_order([*USUAL[:4], replace(USUAL[4], is_async=True, waited=False)])
    records = [RankRecord(rank=rank, collectives=in_order(USUAL), steps=2) for rank in (0, 1, 3)]
    records.insert(2, RankRecord(rank=2, collectives=begun, steps=1, failure=failure))
    assert theirs(records) == [(OTHER_STATE, 4, (2,))]
    assert ours(records) == [("early-exit", (2,), "train.py:6")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A run of which the analyser says what is wrong, or says nothing of what is; why; and ours, which is right."""

    why: str
    ranks: Ranks
    theirs: Sequence[Theirs]
    ours: Sequence[Ours]
    library: Library = Library.NCCL


UNEVEN = {0: [exchange(1, (1, 2), (1, 3), group_ranks=(0, 1))], 1: [exchange(1, (3, 1), (2, 1), group_ranks=(0, 1))]}
RING = {
    rank: [
        message(1, CollectiveOp.SEND, (rank + 1) % 4, group_ranks=WORLD, coalesced=0, is_async=True, waited_before=2),
        message(2, CollectiveOp.RECV, (rank - 1) % 4, group_ranks=WORLD, coalesced=0, is_async=True, waited_before=2),
    ]
    for rank in WORLD
}
PAIRS = (call(1, process_group="1", group_ranks=(0, 1)), call(2, process_group="2", group_ranks=(0, 1)))

WRONG: dict[str, Wrong] = {
    "uneven exchange": Wrong(
        why="it compares sizes between ranks",
        library=Library.NCCLX,
        ranks=UNEVEN,
        theirs=[(OTHER_SIZE, 0, (1,))],
        ours=[],
    ),
    "uneven exchange of lists": Wrong(
        why="it adds up each rank's first tensors only",
        ranks={0: [lists(1, (1, 2), (1, 3))], 1: [lists(1, (3, 1), (2, 1))]},
        theirs=[(OTHER_SIZE, 0, (0,))],
        ours=[],
    ),
    "other shapes of as many elements": Wrong(
        why="it compares shapes, NCCL takes numbers of elements",
        ranks={0: [call(1, given=(2, 2))], 1: [call(1, given=(4,))]},
        theirs=[(OTHER_SIZE, 0, (1,))],
        ours=[],
    ),
    "list and tensor": Wrong(
        why="it compares names, NCCL gathers either way",
        ranks={
            rank: [call(1, *([(CollectiveOp.ALL_GATHER, (2,), [(2,)] * 4), (CollectiveOp.ALL_GATHER_INTO_TENSOR, (2,), (8,))][rank % 2]))]
            for rank in WORLD
        },
        theirs=[(OTHER_TYPE, 0, (1, 3))],
        ours=[],
    ),
    "a ring of messages issued as one": Wrong(
        why="it looks for the partner of a receive on the receiving rank", ranks=RING, theirs=[(MESSAGES_DIFFER, None, ())], ours=[]
    ),
    "a message between two of four": Wrong(
        why="it expects all members of the group to take part",
        ranks={
            0: [message(1, CollectiveOp.SEND, 1, group_ranks=WORLD)],
            1: [message(2, CollectiveOp.RECV, 0, group_ranks=WORLD)],
            2: [],
            3: [],
        },
        theirs=[(NOT_ALL_JOINING, None, (2, 3))],
        ours=[],
    ),
    "gathers into too little": Wrong(
        why="it does not know that what comes out is what goes in times the members",
        library=Library.NCCLX,
        ranks={rank: [call(1, CollectiveOp.ALL_GATHER_INTO_TENSOR, (2,), (6,))] for rank in WORLD},
        theirs=[],
        ours=[("size-mismatch", WORLD, "train.py:1")],
    ),
    "scatters too little": Wrong(
        why="it does not know that what goes in is what comes out times the members",
        library=Library.NCCLX,
        ranks={rank: [call(1, CollectiveOp.REDUCE_SCATTER_TENSOR, (6,), (2,))] for rank in WORLD},
        theirs=[],
        ours=[("size-mismatch", WORLD, "train.py:1")],
    ),
    "exchanges whose tables do not fit": Wrong(
        why="it compares no split, only the sum of all",
        ranks={0: [exchange(1, (1, 2), (1, 2), group_ranks=(0, 1))], 1: [exchange(1, (1, 2), (1, 2), group_ranks=(0, 1))]},
        theirs=[],
        ours=[("splits-mismatch", (0, 1), "train.py:1")],
    ),
    "a message of another dtype": Wrong(
        why="it compares no dtype of messages",
        ranks={0: [message(1, CollectiveOp.SEND, 1)], 1: [message(2, CollectiveOp.RECV, 0, dtype="bfloat16")]},
        theirs=[],
        ours=[("dtype-mismatch", (0, 1), "train.py:1")],
    ),
    "another dtype of a number": Wrong(
        why="it compares no dtype of tensors that have no dimension",
        ranks={rank: [call(1, given=(), dtype="int64" if rank == 2 else "float32")] for rank in WORLD},
        theirs=[],
        ours=[("dtype-mismatch", (2,), "train.py:1")],
    ),
    "another reduction": Wrong(
        why="the recorder does not keep it",
        ranks=with_field(2, 4, reduce_op="max"),
        theirs=[],
        ours=[("reduce-op-mismatch", (2,), "train.py:5")],
    ),
    "another root": Wrong(
        why="the recorder does not keep it",
        ranks=with_field(2, 1, root=2),
        theirs=[],
        ours=[("root-mismatch", (2,), "train.py:2")],
    ),
    "two groups in another order": Wrong(
        why="it looks at each group alone",
        ranks={0: PAIRS, 1: PAIRS[::-1]},
        theirs=[],
        ours=[("deadlock", (0, 1), "train.py:1")],
    ),
    "both send first": Wrong(
        why="it knows of no call that blocks, and takes the two for one message",
        ranks={rank: [message(i, op, 1 - rank) for i, op in ((1, CollectiveOp.SEND), (2, CollectiveOp.RECV))] for rank in (0, 1)},
        theirs=[(OTHER_SIZE, None, (1,))],
        ours=[("deadlock", (0, 1), "train.py:1")],
    ),
    "another size on the first rank": Wrong(
        why="it blames those that differ from the first rank",
        ranks=with_field(0, 0, input_sizes=((9,),), output_sizes=((9,),)),
        theirs=[(OTHER_SIZE, 0, (1, 2, 3))],
        ours=[("size-mismatch", (0,), "train.py:1")],
    ),
    "one too many at the end": Wrong(
        why="it blames those that do not make it",
        ranks=with_rank(2, lambda calls: [*calls, call(9)]),
        theirs=[(NOT_ALL_JOINING, 6, (0, 1, 3))],
        ours=[("extra-collective", (2,), "train.py:9")],
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_our_verdict_is_right_where_the_analysers_is_not(case: Wrong) -> None:
    records = records_of(case.ranks)
    assert ours(records) == case.ours
    assert theirs(records, case.library) == case.theirs, case.why


def test_the_analyser_takes_equal_numbers_for_calls_issued_as_one() -> None:
    """The first message of a group and its first collective are both number one."""
    both = call(3, process_group="1", group_ranks=(0, 1))
    records = records_of({0: [message(1, CollectiveOp.SEND, 1), both], 1: [message(2, CollectiveOp.RECV, 0), both]})
    with pytest.raises(AssertionError, match="non-p2p op"):
        verdicts(records)
    assert ours(records) == []


# -- real programs -----------------------------------------------------------------------------------------------------------------------


def leaves_a_call_out(rank: int, x: torch.Tensor, pair: dist.ProcessGroup) -> None:
    if rank != 2:
        dist.all_reduce(x)
    dist.broadcast(x, 0)


def makes_fewer_steps(rank: int, x: torch.Tensor, pair: dist.ProcessGroup) -> None:
    for _ in range(3 - (rank == 3)):
        dist.all_reduce(x)


def differs_in_each_group(rank: int, x: torch.Tensor, pair: dist.ProcessGroup) -> None:
    dist.all_reduce(x)
    part = x[: 5 + rank // 3]
    dist.all_gather([torch.empty_like(part)] * 2, part, group=pair)
    dist.all_reduce(x.bfloat16() if rank == 2 else x)
    if rank != 1:
        dist.barrier(group=pair)


FAULTY = {
    leaves_a_call_out: [(OTHER_TYPE, 0, (2,))],
    makes_fewer_steps: [(NOT_ALL_JOINING, 2, (3,))],
    differs_in_each_group: [(NOT_ALL_JOINING, 1, (1,)), (OTHER_SIZE, 0, (3,)), (OTHER_DTYPE, 1, (2,))],
}


@pytest.mark.parametrize(("program", "they_say"), FAULTY.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_real_programs_with_faults(program: Callable[..., None], they_say: list[Theirs]) -> None:
    records = [run_of(program, rank) for rank in WORLD]
    assert sorted(theirs(records)) == sorted(they_say)
    assert_same(records)


def run_of(program: Callable[..., None], rank: int) -> RankRecord:
    with with_dist(rank=rank, world_size=4) as world:
        pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        program(rank, torch.ones(8, device="cuda"), pairs[rank // 2])
    return RankRecord(rank=rank, collectives=world.collectives)


PROGRAMS = {
    "tensor and data parallelism": ("scripts/train_tp_fsdp.py", "--mesh", "2x2", "--", "--model", "uneven", "--seq-len", "16"),
    "experts": ("tests/compatibility/programs/expert_parallel/token_dispatch.py", "--world-size", "4"),
}


@pytest.mark.parametrize("words", PROGRAMS.values(), ids=PROGRAMS)
def test_real_programs_that_work(tmp_path: Path, words: Sequence[str]) -> None:
    result = fakerun(words[0], "--ranks", "all", "--run-dir", str(tmp_path / "run"), *words[1:])
    assert result.returncode == 0, result.stdout + result.stderr
    records = RecordStore(tmp_path / "run").read_run().ranks
    assert len(verdicts(records)) > 5
    assert_same(records)


def assert_same(records: Sequence[RankRecord]) -> None:
    """To each verdict of the analyser that is not "matched" our finding, and no others."""
    faults = [verdict for verdict in verdicts(records) if verdict.state != MATCHED]
    found = [finding for finding in matching_findings(records) if finding.severity is Severity.ERROR]
    assert len(faults) == len(found)
    for fault in faults:
        (finding,) = (each for each in found if each.ranks == fault.culprits and each.call_site in lines_at(records, fault))
        assert finding.code in KINDS[fault.state]


def lines_at(records: Sequence[RankRecord], verdict: Verdict) -> set[CallSite | None]:
    """Where the ranks make the collective of which the verdict is, or its messages."""
    lines = set()
    for record in records:
        calls = [each for each in record.collectives if (each.process_group, each.group_ranks) == (verdict.group, verdict.group_ranks)]
        if verdict.position is None:
            lines |= {each.call_site for each in calls}
        else:
            collectives = [each for each in calls if each.op not in (CollectiveOp.SEND, CollectiveOp.RECV)]
            lines |= {each.call_site for each in collectives[verdict.position : verdict.position + 1]}
    return lines


# -- programs by chance ------------------------------------------------------------------------------------------------------------------

GROUPS = {"0": WORLD, "1": (0, 1), "2": (2, 3), "3": (0, 2), "4": (1, 3)}


def by_chance(random: random.Random, line: int) -> CollectiveRecord:
    """A collective of some kind, size and dtype, on some group."""
    name = random.choice(list(GROUPS))
    ranks = GROUPS[name]
    n = random.choice((1, 2, 3))
    op, given, gotten = random.choice(
        (
            (CollectiveOp.ALL_REDUCE, n, n),
            (CollectiveOp.BROADCAST, n, n),
            (CollectiveOp.ALL_GATHER_INTO_TENSOR, n, n * len(ranks)),
            (CollectiveOp.REDUCE_SCATTER_TENSOR, n * len(ranks), n),
        )
    )
    dtype = random.choice(("float32", "bfloat16"))
    return call(line, op, (given,), (gotten,), group=f"group {name}", process_group=name, group_ranks=ranks, dtype=dtype)


def change(random: random.Random, calls: list[CollectiveRecord], position: int) -> None:
    """Make one rank's program another: a call left out, one too many, or one that is different."""
    old = calls[position]
    other = by_chance(random, 900)
    match random.choice(("leave out", "add", "alter")):
        case "leave out":
            del calls[position]
        case "add":
            calls.insert(position, replace(other, process_group=old.process_group, group=old.group, group_ranks=old.group_ranks))
        case _:
            other = replace(other, process_group=old.process_group, group=old.group, group_ranks=old.group_ranks)
            calls[position] = replace(other, call_site=old.call_site)


@pytest.mark.parametrize("seed", range(150))
def test_programs_by_chance(seed: int) -> None:
    """One rank may differ, which is not the first of the group: the analyser would blame the others."""
    chance = random.Random(seed)
    program = [by_chance(chance, line) for line in range(1, chance.randint(2, 12))]
    ranks = {rank: [each for each in program if rank in each.group_ranks] for rank in WORLD}
    outlier = chance.choice(WORLD)
    positions = [i for i, each in enumerate(ranks[outlier]) if each.group_ranks[0] != outlier]
    if positions:
        change(chance, ranks[outlier], chance.choice(positions))
    records = records_of(ranks)
    faults = [verdict for verdict in verdicts(records) if verdict.state != MATCHED] if program else []
    found = [finding for finding in matching_findings(records) if finding.severity is Severity.ERROR]
    assert len(faults) == len(found)
    for fault in faults:
        (finding,) = (each for each in found if each.ranks == fault.culprits and each.call_site in lines_at(records, fault))
        assert finding.code in KINDS[fault.state]
