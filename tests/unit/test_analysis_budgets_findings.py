"""Budgets that are kept without findings of some kind."""

from dataclasses import replace

import pytest

from fakerun.analysis.budgets.check import Check
from fakerun.errors import ExitCode
from fakerun.job.budgets import Budgets, CodeBudget, Required
from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import Blocked, FailureKind, ProcessFailure, RankRecord, RunRecord
from fakerun.report import Report, build_report
from tests.unit.records_by_hand import GIB, block, collective, in_order, job, program, run

WARNING = Finding(code=FindingCode.RANK_MISMATCH, message="rank 3 of 8")
NOTE = Finding(code=FindingCode.MESH_RESIZED, message="the mesh was resized")
TWO, ONE = job(nproc_per_node=2), job(nproc_per_node=1)


def rank(number: int, *findings: Finding, gib: int = 1) -> RankRecord:
    weights = program([block(gib * GIB, Category.PARAMETER, module="layer")], [0])
    return RankRecord(rank=number, devices=(number,), steps=1, program=weights, findings=findings)


def codes(*names: FindingCode) -> tuple[CodeBudget, ...]:
    return tuple(CodeBudget(code=name, source="job.yaml:8") for name in names)


def said(check: Check) -> str:
    """What was measured, and why it is not known whether that is within the limit."""
    return "; ".join(filter(None, (check.measured, check.reason)))


def result(report: Report, name: str) -> tuple[str, str] | None:
    found = [check for check in report.checks if check.name == name]
    return (said(found[0]), "ok" if found[0].passed else "unknown" if found[0].is_unknown else "failed") if found else None


def test_allowed_findings_do_not_count_and_are_counted() -> None:
    allowed = codes(FindingCode.RANK_MISMATCH, FindingCode.DOES_NOT_FIT)
    report = build_report(ONE, run(rank(0, WARNING, NOTE, gib=100)), Budgets(allowed=allowed, strict=Required(source="--strict")))
    assert [finding.code for finding in report.findings] == [FindingCode.MESH_RESIZED]
    assert report.ignored_findings == {FindingCode.DOES_NOT_FIT: 1, FindingCode.RANK_MISMATCH: 1}
    assert report.exit_code is ExitCode.OK
    assert result(report, "findings.allow.rank-mismatch") == ("1 left out", "ok")
    assert result(report, "strict") == ("0 warnings", "ok")


def test_budgets_may_be_about_the_simulated_ranks_alone_and_say_nothing_of_the_others() -> None:
    budgets = Budgets(fits=Required(source="job.yaml:3"), ranks_agree=Required(source="job.yaml:4"))
    assert build_report(TWO, run(rank(0)), budgets).exit_code is ExitCode.FINDINGS
    report = build_report(TWO, run(rank(0)), budgets, is_of_simulated=True)
    assert (report.exit_code, [(check.name, check.passed) for check in report.checks]) == (ExitCode.OK, [("fits", True)])


def test_ranks_do_not_agree_because_unknown_ones_are_allowed() -> None:
    report = build_report(TWO, run(rank(0)), Budgets(ranks_agree=Required(source="job.yaml:4"), allowed=codes(FindingCode.RANKS_UNKNOWN)))
    assert (report.exit_code, result(report, "ranks_agree")) == (ExitCode.FINDINGS, ("rank 1 was not simulated", "unknown"))


def test_warnings_fail_a_strict_run_only() -> None:
    records, strict = run(rank(0, WARNING, NOTE)), Budgets(strict=Required(source="--strict"))
    assert build_report(ONE, records).exit_code is ExitCode.OK
    report = build_report(ONE, records, strict)
    assert (report.exit_code, result(report, "strict")) == (ExitCode.FINDINGS, ("1 warning", "failed"))
    assert build_report(ONE, run(rank(0, NOTE)), strict).exit_code is ExitCode.OK


@pytest.mark.parametrize(("code", "measured", "passed"), [(NOTE.code, "1 finding", False), (FindingCode.DEADLOCK, "0 findings", True)])
def test_a_forbidden_code_fails_the_run_whatever_its_severity(code: FindingCode, measured: str, passed: bool) -> None:
    report = build_report(ONE, run(rank(0, NOTE)), Budgets(forbidden=codes(code)))
    assert result(report, f"findings.forbid.{code}") == (measured, "ok" if passed else "failed")
    assert report.exit_code is (ExitCode.OK if passed else ExitCode.FINDINGS)


def test_a_broken_budget_may_be_ignored() -> None:
    report = build_report(job(), run(rank(0)), replace(AGREE, allowed=codes(FindingCode.UNVERIFIED_BUDGET)))
    assert result(report, "ranks_agree") == ("ranks 1-3 were not simulated", "unknown")
    assert (report.exit_code, report.ignored_findings) == (ExitCode.OK, {FindingCode.UNVERIFIED_BUDGET: 1})
    assert [check.is_ignored for check in report.checks if not check.passed] == [True]
    assert result(report, "findings.allow.unverified-budget") == ("1 left out", "ok")


AGREE = Budgets(ranks_agree=Required(source="job.yaml:2"))


def pair(*ops: CollectiveOp, **fields: object) -> RunRecord:
    """Two ranks; the second calls the first operation only."""
    calls = in_order([collective(op, group="world", group_ranks=(0, 1)) for op in ops])
    return run(RankRecord(rank=0, devices=(0,), collectives=calls), RankRecord(rank=1, devices=(1,), collectives=calls[:1], **fields))  # type: ignore[arg-type]


def test_ranks_agree() -> None:
    for budgets in (AGREE, Budgets()):
        report = build_report(TWO, pair(CollectiveOp.ALL_REDUCE), budgets)
        assert result(report, "ranks_agree") == ("2 ranks agree", "ok")


def test_ranks_do_not_agree() -> None:
    for budgets in (AGREE, Budgets()):
        report = build_report(TWO, pair(CollectiveOp.ALL_REDUCE, CollectiveOp.BARRIER), budgets)
        assert result(report, "ranks_agree") == ("1 mismatch", "failed")
        (check,) = (check for check in report.checks if check.name == "ranks_agree")
        assert check.finding in report.findings
        assert report.exit_code is ExitCode.FINDINGS


def test_who_allows_a_mismatch_lets_ranks_differ() -> None:
    mismatched = pair(CollectiveOp.ALL_REDUCE, CollectiveOp.BARRIER)
    (found,) = build_report(TWO, mismatched).findings
    report = build_report(TWO, mismatched, replace(AGREE, allowed=codes(found.code)))
    assert (report.exit_code, result(report, "ranks_agree")) == (ExitCode.OK, ("2 ranks agree", "ok"))


FAILED = ProcessFailure(kind=FailureKind.TIMEOUT, exception=None, message="took too long")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (run(RankRecord(rank=0)), "rank 1 was not simulated"),
        (pair(CollectiveOp.ALL_REDUCE, failure=FAILED), "rank 1 failed"),
        (pair(CollectiveOp.ALL_REDUCE, blocked=Blocked(call=None, waits_for=(), key="k")), None),
    ],
)
def test_agreement_that_is_not_known(record: RunRecord, reason: str | None) -> None:
    """Where nobody asked it is left out; a rank that is blocked has a finding of its own, or none."""
    report = build_report(TWO, record, AGREE)
    found = result(report, "ranks_agree")
    assert found is not None
    assert found[1] != "ok"
    if reason is not None:
        assert found == (reason, "unknown")
        assert result(build_report(TWO, record), "ranks_agree") is None


def test_agreement_may_be_left_out() -> None:
    off = Budgets(ranks_agree=Required(on=False, source="job.yaml:2"))
    assert result(build_report(TWO, pair(CollectiveOp.ALL_REDUCE), off), "ranks_agree") is None


@pytest.mark.parametrize(
    ("world_size", "is_async", "expected"), [(1, True, "failed"), (1, False, "ok"), (2, True, "failed"), (2, False, "ok")]
)
def test_calls_that_nothing_waits_for(world_size: int, is_async: bool, expected: str) -> None:
    calls = in_order([collective(group_ranks=tuple(range(world_size)), is_async=is_async, waited=not is_async)])
    records = run(*(RankRecord(rank=number, devices=(number,), collectives=calls) for number in range(world_size)))
    report = build_report(job(nproc_per_node=world_size), records, Budgets(no_unawaited_async=Required(source="job.yaml:3")))
    assert result(report, "no_unawaited_async") == (f"{int(expected == 'failed')} call site{'s' * (expected == 'ok')}", expected)
    assert report.exit_code == int(expected == "failed")


def test_calls_of_ranks_that_are_not_known_may_be_waited_for_or_not() -> None:
    report = build_report(TWO, run(RankRecord(rank=0)), Budgets(no_unawaited_async=Required(source="job.yaml:3")))
    assert result(report, "no_unawaited_async") == ("0 call sites; rank 1 was not simulated", "unknown")
