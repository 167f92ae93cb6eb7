"""Collectives that a job must not issue."""

import pytest

from fakerun.analysis.budgets.check import Check
from fakerun.analysis.budgets.no_collectives import is_in_module
from fakerun.job.budgets import Budgets, NoCollectives
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


def said(check: Check) -> str:
    """What was measured, and why it is not known whether that is within the limit."""
    return "; ".join(filter(None, (check.measured, check.reason)))


def rank(number: int) -> RankRecord:
    return RankRecord(rank=number, devices=(number,), collectives=CALLS)


def finding(message: str, call_site: str, hint: str | None = None) -> Finding:
    return Finding(code=FindingCode.FORBIDDEN_COLLECTIVE, message=message, ranks=(0,), call_site=site(call_site), hint=hint)


BARRIER = "barrier over world (4 ranks) in step 0, other, is forbidden by"
ALL_REDUCE = "all_reduce of 2.00 KiB float32 over dp (4 ranks) in step 1, backward, is forbidden by"
IN_LAYER = "It was issued in module layers.0."


@pytest.mark.parametrize(
    ("forbidden", "expected"),
    [
        ((), []),
        ((CollectiveOp.SEND,), []),
        (EVERY_OPERATION, [finding(f"{BARRIER} --error-on-collective, and 2 calls after it are", "train.py:3")]),
        ((CollectiveOp.BARRIER,), [finding(f"{BARRIER} --error-on-collective", "train.py:3")]),
        (
            (CollectiveOp.SEND, CollectiveOp.ALL_REDUCE),
            [finding(f"{ALL_REDUCE} --error-on-collective, and 1 call after it is", "train.py:20", IN_LAYER)],
        ),
    ],
)
def test_the_first_forbidden_call_is_described(forbidden: tuple[CollectiveOp, ...], expected: list[Finding]) -> None:
    report = build_report(job(nproc_per_node=1, error_on_collective=forbidden), run(rank(0)))
    assert list(report.findings) == expected


def test_every_rank_is_looked_at() -> None:
    ranks = [
        RankRecord(rank=0),
        rank(1),
        RankRecord(rank=2, devices=(2,), collectives=CALLS[1:]),
    ]
    report = build_report(job(error_on_collective=EVERY_OPERATION), run(*ranks))
    found = [found for found in report.findings if found.code is FindingCode.FORBIDDEN_COLLECTIVE]
    assert [(each.ranks, str(each.call_site)) for each in found] == [((1,), "train.py:3"), ((2,), "train.py:20")]
    (check,) = (check for check in report.checks if check.name == "error_on_collective")
    assert (check.subject, check.measured, check.passed) == ("ranks 1-2", "3 calls", False)


@pytest.mark.parametrize(("forbidden", "exit_code"), [(EVERY_OPERATION, 1), ((), 0)])
def test_the_report_has_one_finding_for_equal_ranks(forbidden: tuple[CollectiveOp, ...], exit_code: int) -> None:
    ranks = [rank(number) for number in (0, 1)]
    report = build_report(job(error_on_collective=forbidden), run(*ranks))
    assert [found.ranks for found in report.findings] == [(0, 1)] * exit_code
    assert report.exit_code == exit_code


def test_simulated_ranks_without_collectives_pass_by_the_option() -> None:
    report = build_report(job(error_on_collective=(CollectiveOp.SEND,)), run(rank(0)))
    (check,) = (check for check in report.checks if check.name == "error_on_collective")
    assert (check.limit, check.measured, check.passed, report.exit_code) == ("no send", "0 calls", True, 0)


@pytest.mark.parametrize(
    ("budget", "measured", "result"),
    [
        ({"phase": Phase.BACKWARD}, "2 calls", "failed"),
        ({"phase": Phase.OTHER}, "1 call", "failed"),
        ({"phase": Phase.FORWARD}, "0 calls", "ok"),
        ({"module": "layers.*"}, "1 call", "failed"),
        ({"module": "layers.1"}, "0 calls; no module of the run matches layers.1", "unknown"),
        ({"module": "layer"}, "0 calls; no module of the run matches layer", "unknown"),
    ],
)
def test_phases_and_modules(budget: dict[str, str], measured: str, result: str) -> None:
    forbidden = NoCollectives(name="no_collectives_in.x", source="job.yaml:4", **budget)  # type: ignore[arg-type]
    report = build_report(job(nproc_per_node=1), run(rank(0)), Budgets(no_collectives=(forbidden,)))
    (check,) = (check for check in report.checks if check.name == "no_collectives_in.x")
    assert (said(check), "ok" if check.passed else "unknown" if check.is_unknown else "failed") == (measured, result)
    assert report.exit_code == int(result != "ok")


def test_the_finding_names_the_line_of_the_file() -> None:
    forbidden = NoCollectives(name="no_collectives_in.layers.*", module="layers.*", source="job.yaml:4")
    ranks = run(*(rank(number) for number in range(4)))
    (found,) = build_report(job(), ranks, Budgets(no_collectives=(forbidden,))).findings
    assert found.message == f"{ALL_REDUCE} no_collectives_in.layers.* (job.yaml:4)"


def test_ranks_that_were_not_simulated_may_issue_some() -> None:
    forbidden = NoCollectives(name="no_collectives_in.forward", phase=Phase.FORWARD, source="job.yaml:4")
    report = build_report(job(), run(rank(0)), Budgets(no_collectives=(forbidden,)))
    (check,) = (check for check in report.checks if check.name == "no_collectives_in.forward")
    assert (check.is_unknown, said(check)) == (True, "0 calls; ranks 1-3 were not simulated")


@pytest.mark.parametrize(
    ("module", "pattern", "is_in"),
    [
        ("layers.0.attention", "layers.*.attention", True),
        ("layers.0.attention.wq", "layers.*.attention", True),
        ("layers.0", "layers.*.attention", False),
        ("layers.0.feed_forward", "layers.*.attention", False),
        ("layers.10", "layers.1*", True),
        ("layers.0", "layers", True),
        ("layers2", "layers", False),
        ("model.layers.0", "layers.*", False),
    ],
)
def test_patterns_of_modules(module: str, pattern: str, is_in: bool) -> None:
    assert is_in_module(module, pattern) is is_in
