"""Operations that the job forbids."""

import pytest

from fakerun.analysis.forbidden import forbidden_findings
from fakerun.job.forbidden import EVERY_OPERATION
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.report import build_report
from tests.unit.records_by_hand import collective, in_order, job, run, site

CALLS = in_order(
    [
        collective(CollectiveOp.BARRIER, dtype="", nbytes=0, group="world", phase=Phase.OTHER, call_site=site("train.py:3")),
        collective(CollectiveOp.ALL_REDUCE, nbytes=2048, step=1, module="layers.0", call_site=site("train.py:20")),
        collective(CollectiveOp.ALL_REDUCE, nbytes=4096, call_site=site("train.py:21")),
    ]
)


def finding(message: str, call_site: str, hint: str | None = None) -> Finding:
    return Finding(code=FindingCode.FORBIDDEN_COLLECTIVE, message=message, ranks=(5,), call_site=site(call_site), hint=hint)


BARRIER = "barrier over world (4 ranks) in step 0, other, is forbidden by --error-on-collective"
ALL_REDUCE = "all_reduce of 2.00 KiB float32 over dp (4 ranks) in step 1, backward, is forbidden by --error-on-collective"


@pytest.mark.parametrize(
    ("forbidden", "expected"),
    [
        ((), []),
        ((CollectiveOp.SEND,), []),
        (EVERY_OPERATION, [finding(f"{BARRIER}, and 2 calls after it are", "train.py:3")]),
        ((CollectiveOp.BARRIER,), [finding(BARRIER, "train.py:3")]),
        (
            (CollectiveOp.SEND, CollectiveOp.ALL_REDUCE),
            [finding(f"{ALL_REDUCE}, and 1 call after it is", "train.py:20", "It was issued in module layers.0.")],
        ),
    ],
)
def test_the_first_forbidden_call_is_described(forbidden: tuple[CollectiveOp, ...], expected: list[Finding]) -> None:
    assert list(forbidden_findings([RankRecord(rank=5, collectives=CALLS)], forbidden)) == expected


def test_every_rank_is_looked_at() -> None:
    ranks = [RankRecord(rank=0), RankRecord(rank=1, collectives=CALLS), RankRecord(rank=2, collectives=CALLS[1:])]
    assert [(found.ranks, str(found.call_site)) for found in forbidden_findings(ranks, EVERY_OPERATION)] == [
        ((1,), "train.py:3"),
        ((2,), "train.py:20"),
    ]


@pytest.mark.parametrize(("forbidden", "exit_code"), [(EVERY_OPERATION, 1), ((), 0)])
def test_the_report_has_one_finding_for_equal_ranks(forbidden: tuple[CollectiveOp, ...], exit_code: int) -> None:
    ranks = [RankRecord(rank=rank, devices=(rank,), collectives=CALLS) for rank in (0, 1)]
    report = build_report(job(error_on_collective=forbidden), run(*ranks))
    assert [found.ranks for found in report.findings] == [(0, 1)] * exit_code
    assert report.exit_code == exit_code
