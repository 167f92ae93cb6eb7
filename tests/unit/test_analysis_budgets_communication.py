"""Budgets of communication: bytes and calls of a step."""

from dataclasses import replace

import pytest

from fakerun.analysis.budgets.check import Check
from fakerun.job.budgets import Budgets, CommunicationBudget, VolumeKey
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import AssumedRanks, RankRecord, RunRecord
from fakerun.report import build_report
from tests.unit.records_by_hand import collective, in_order, job, run

KIB = 1024
MESH = Mesh.of({"dp": 2, "tp": 2})
REDUCE, GATHER = CollectiveOp.ALL_REDUCE, CollectiveOp.ALL_GATHER_INTO_TENSOR


def calls(rank: int) -> tuple[CollectiveRecord, ...]:
    """A first step with a broadcast of the weights, then two steps with 2 all_reduce over dp and 3 all_gather over tp each."""
    dp, tp = ((0, 2), (0, 1)) if rank == 0 else ((1, 3), (0, 1)) if rank == 1 else ((0, 2), (2, 3)) if rank == 2 else ((1, 3), (2, 3))
    setup = [collective(CollectiveOp.BROADCAST, nbytes=1000 * KIB, group_ranks=dp, process_group="1", root=dp[0])]
    reduces = [collective(REDUCE, nbytes=10 * KIB, group_ranks=dp, process_group="1", call_site="train.py:30") for _ in range(2)]
    gathers = [
        collective(GATHER, nbytes=4 * KIB, output_sizes=((500,),), group="tp", group_ranks=tp, process_group="2", call_site="model.py:9")
        for _ in range(3)
    ]
    steps = [(step, call) for step in range(3) for call in ((*setup, *reduces, *gathers) if step == 0 else (*reduces, *gathers))]
    return in_order([replace(call, step=step) for step, call in steps])


def four(**fields: int) -> RunRecord:
    return run(*(RankRecord(rank=rank, devices=(rank,), mesh=MESH, steps=3, collectives=calls(rank), **fields) for rank in range(4)))  # type: ignore[arg-type]


WITHOUT_STEPS = run(*(RankRecord(rank=rank, devices=(rank,), collectives=calls(rank)) for rank in range(4)))


def said(check: Check) -> str:
    """What was measured, and why it is not known whether that is within the limit."""
    return "; ".join(filter(None, (check.measured, check.reason)))


def check(budget: CommunicationBudget, record: RunRecord, nnodes: int = 1) -> Check:
    report = build_report(job(nnodes=nnodes, nproc_per_node=4 // nnodes), record, Budgets(communication=(budget,)))
    (found,) = (check for check in report.checks if check.name == budget.name)
    assert report.exit_code == int(not found.passed)
    assert found.passed or found.finding in report.findings
    return found


def budget(key: str, most: int, **fields: object) -> CommunicationBudget:
    return CommunicationBudget(key=VolumeKey(key), most=most, text=str(most), source="job.yaml:5", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        (budget("calls", 5), "5 calls"),
        (budget("bytes", 32 * KIB), "32.0 KiB"),
        (budget("bus_bytes", 26 * KIB), "26.0 KiB"),
        (budget("calls", 3, group="tp"), "3 calls"),
        (budget("bytes", 20 * KIB, group="dp"), "20.0 KiB"),
        (budget("calls", 2, op=REDUCE), "2 calls"),
        (budget("bytes", 12 * KIB, op=GATHER), "12.0 KiB"),
        (budget("calls", 0, op=CollectiveOp.BROADCAST), "0 calls"),
        (budget("calls", 0, op=CollectiveOp.SEND), "0 calls"),
        (budget("bytes", 0, is_inter_node=True), "0 B"),
        (budget("calls", 0, is_inter_node=True), "0 calls"),
    ],
)
def test_the_largest_step_after_the_first_is_held_against_the_limit(asked: CommunicationBudget, measured: str) -> None:
    found = check(asked, four())
    assert (found.measured, found.passed, found.source) == (measured, True, "job.yaml:5")


@pytest.mark.parametrize(
    ("asked", "message", "call_site"),
    [
        (budget("calls", 4), "ranks 0-3 have 5 calls in step 1, 1 call above the limit: communication.calls 4 calls", "model.py:9"),
        (
            budget("bytes", 10 * KIB, group="dp"),
            "ranks 0-3 have 20.0 KiB over dp in step 1, 10.0 KiB above the limit: communication.dp.bytes 10.0 KiB",
            "train.py:30",
        ),
        (
            budget("calls", 1, op=REDUCE),
            "ranks 0-3 have 2 calls by all_reduce in step 1, 1 call above the limit: communication.all_reduce.calls 1 call",
            "train.py:30",
        ),
    ],
)
def test_what_is_above_the_limit(asked: CommunicationBudget, message: str, call_site: str) -> None:
    found = check(asked, four())
    assert found.finding is not None
    assert found.finding.code is FindingCode.OVER_BUDGET
    assert found.finding.message.replace("rank 0 has", "ranks 0-3 have") == f"{message} (job.yaml:5)"
    assert (found.finding.ranks, str(found.finding.call_site)) == ((0, 1, 2, 3), call_site)


def test_between_nodes() -> None:
    """With a node for each index of dp, half of what a rank sends over dp (its ring has two members) leaves the node: all of it."""
    assert check(budget("bytes", 20 * KIB, is_inter_node=True), four(), nnodes=2).measured == "20.0 KiB"
    assert check(budget("calls", 2, is_inter_node=True), four(), nnodes=2).measured == "2 calls"
    found = check(budget("bytes", 19 * KIB, is_inter_node=True), four(), nnodes=2)
    assert found.finding is not None
    assert "20.0 KiB between nodes in step 1, 1.00 KiB above the limit: communication.inter_node.bytes 19.0 KiB" in found.finding.message


def test_the_only_step_counts_with_what_sets_it_up() -> None:
    ranks = run(*(RankRecord(rank=rank, devices=(rank,), steps=1, collectives=calls(rank)[:6]) for rank in range(4)))
    assert check(budget("calls", 6), ranks).measured == "6 calls"


@pytest.mark.parametrize(
    ("asked", "record", "reason"),
    [
        (budget("calls", 9), run(*four().ranks[:3]), "5 calls; rank 3 was not simulated"),
        (
            budget("calls", 9),
            WITHOUT_STEPS,
            "ranks 0-3 completed no step",
        ),
        (budget("calls", 9, group="ep"), four(), "the run has no group ep; its groups are dp and tp"),
        (budget("calls", 9, group="ep"), run(*(RankRecord(rank=rank, steps=1) for rank in range(4))), "the run has no group ep"),
    ],
)
def test_what_cannot_be_verified(asked: CommunicationBudget, record: RunRecord, reason: str) -> None:
    found = check(asked, record)
    assert (found.is_unknown, said(found)) == (True, reason)


def test_a_rank_without_communication_has_none() -> None:
    assert check(budget("calls", 0), run(*(RankRecord(rank=rank, steps=1) for rank in range(4)))).passed


def test_ranks_that_are_represented_count() -> None:
    record = four().ranks[0]
    represented = RunRecord(
        fakerun_version="0.1.0", torch_version=None, ranks=(record,), assumed=(AssumedRanks(ranks=(1, 2, 3), representative=0),), mesh=MESH
    )
    found = check(budget("calls", 5), represented)
    assert (found.subject, found.passed) == ("ranks 0-3", True)
