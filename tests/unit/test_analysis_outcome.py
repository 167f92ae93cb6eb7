"""Findings of all ranks in one tuple, and the exit code."""

import pytest

from fakerun.analysis.outcome import all_findings, exit_code
from fakerun.errors import ExitCode
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import Blocked, FailureKind, ProcessFailure, RankRecord
from tests.unit.records_by_hand import site

ERROR = Finding(code=FindingCode.DOES_NOT_FIT, message="too large", ranks=(0,))
NOTE = Finding(code=FindingCode.MESH_RESIZED, message="the mesh was resized")
WARNING = Finding(code=FindingCode.NON_MEMBER, message="a value was made up", call_site=site("train.py:3"))


def failed(kind: FailureKind, rank: int = 0) -> RankRecord:
    return RankRecord(rank=rank, failure=ProcessFailure(kind=kind, exception=None, message="it failed"))


def test_gravest_first_then_in_order() -> None:
    later_note = Finding(code=FindingCode.NOT_SAVED, message="later")
    findings = all_findings([RankRecord(rank=0, findings=(NOTE, later_note, WARNING))], [ERROR])
    assert [finding.code for finding in findings] == ["does-not-fit", "non-member", "mesh-resized", "not-saved"]


def test_findings_of_a_rank_name_it() -> None:
    assert all_findings([RankRecord(rank=3, findings=(NOTE,))], [])[0].ranks == (3,)


def test_shared_findings_are_named_once() -> None:
    ranks = [RankRecord(rank=rank, findings=(NOTE,) if rank != 2 else (WARNING,)) for rank in range(4)]
    assert [(finding.code, finding.ranks) for finding in all_findings(ranks, [])] == [("non-member", (2,)), ("mesh-resized", (0, 1, 3))]


def test_findings_at_different_places_stay_apart() -> None:
    elsewhere = Finding(code=WARNING.code, message=WARNING.message, call_site=site("train.py:9"))
    assert len(all_findings([RankRecord(rank=0, findings=(WARNING, elsewhere))], [])) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.EXCEPTION, ExitCode.SCRIPT_FAILED),
        (FailureKind.EXIT, ExitCode.SCRIPT_FAILED),
        (FailureKind.SIGNAL, ExitCode.SCRIPT_FAILED),
        (FailureKind.TIMEOUT, ExitCode.SCRIPT_FAILED),
        (FailureKind.GAP, ExitCode.INTERNAL),
        (FailureKind.INTERNAL, ExitCode.INTERNAL),
        (FailureKind.USAGE, ExitCode.USAGE),
        (FailureKind.INTERRUPTED, ExitCode.INTERRUPTED),
    ],
)
def test_failure_decides_the_exit_code(kind: FailureKind, expected: ExitCode) -> None:
    assert exit_code([RankRecord(rank=0), failed(kind, rank=1)], [ERROR]) is expected


def test_every_kind_of_failure_has_an_exit_code() -> None:
    assert all(exit_code([failed(kind)], []) is not ExitCode.OK for kind in FailureKind)


def test_a_blocked_rank_fails_the_run_and_not_the_script() -> None:
    blocked = RankRecord(rank=1, blocked=Blocked(call=0, waits_for=(0,)))
    assert exit_code([RankRecord(rank=0), blocked], []) is ExitCode.FINDINGS
    assert exit_code([failed(FailureKind.EXCEPTION), blocked], []) is ExitCode.SCRIPT_FAILED


def test_only_errors_among_findings_count() -> None:
    assert exit_code([RankRecord(rank=0)], [NOTE, WARNING]) is ExitCode.OK
    assert exit_code([RankRecord(rank=0)], [NOTE, ERROR]) is ExitCode.FINDINGS


def test_precedence_of_failures() -> None:
    script, gap, interrupted = failed(FailureKind.EXCEPTION), failed(FailureKind.GAP), failed(FailureKind.INTERRUPTED)
    assert exit_code([script, gap], []) is ExitCode.INTERNAL
    assert exit_code([script, gap, interrupted], []) is ExitCode.INTERRUPTED


def test_a_budget_that_is_not_kept_fails_the_run() -> None:
    assert exit_code([RankRecord(rank=0)], [NOTE], is_over_budget=True) is ExitCode.FINDINGS
    assert exit_code([failed(FailureKind.EXCEPTION)], [], is_over_budget=True) is ExitCode.SCRIPT_FAILED
