"""Public reports of unexpected memory: what is held at the peak, its category, device and line; the mended twin does not hold it."""

from difflib import ndiff
from pathlib import Path

import pytest

from fakerun.analysis.memory.breakdown import by_tensor
from fakerun.errors import ExitCode
from fakerun.records.finding_code import Severity
from tests.matching.case import BUG_MARK, Program
from tests.matching.verdict import Verdict, verdict_of
from tests.memory_reports import case as declared
from tests.memory_reports import table
from tests.memory_reports.case import Report
from tests.memory_reports.cases import REPORTS

EVERY_REPORT = [pytest.param(report, id=report.name) for report in REPORTS]

MOST_LINES = 55
MOST_CHANGED_LINES = 8
SHOWN_TENSORS = 5


def _run(report: Report, program: Program) -> Verdict:
    options = ("--world-size", str(report.world_size), "--hardware", report.hardware, "--steps", "1000")
    return verdict_of(program.path.name, *options, cwd=program.path.parent)


@pytest.mark.parametrize("report", EVERY_REPORT)
def test_the_memory_is_seen_for_what_it_is(report: Report) -> None:
    verdict = _run(report, report.program)
    fails = report.finding is not None and report.finding.severity is Severity.ERROR
    assert verdict.status == (ExitCode.FINDINGS if fails else ExitCode.OK), verdict.stderr
    assert report.held.nbytes(verdict.ranks) == report.bug_bytes
    largest = by_tensor(report.held.footprint(verdict.ranks).alive_at_peak)[:SHOWN_TENSORS]
    assert set(report.program.lines(BUG_MARK)) <= {str(group.call_site) for group in largest}
    found = [finding for finding in verdict.findings if finding.severity is not Severity.NOTE]
    assert [finding.code for finding in found] == ([] if report.finding is None else [report.finding])
    for finding in found:
        (line,) = report.program.lines(BUG_MARK)
        assert f"({report.held.category}, " in str(finding.hint)
        assert f" from {line}" in str(finding.hint)


@pytest.mark.parametrize("report", EVERY_REPORT)
def test_the_twin_does_not_hold_it(report: Report) -> None:
    verdict = _run(report, report.twin)
    assert verdict.status == ExitCode.OK, verdict.stderr
    assert report.held.nbytes(verdict.ranks) == report.fixed_bytes
    assert not [finding for finding in verdict.findings if finding.severity is not Severity.NOTE]


@pytest.mark.parametrize("report", EVERY_REPORT)
def test_the_formula_has_the_figure_of_the_report(report: Report) -> None:
    assert report.fixed_bytes < report.bug_bytes
    if report.figure is not None:
        assert report.bug_bytes == pytest.approx(report.figure.nbytes, rel=report.figure.within, abs=0)


# ---- The suite itself


@pytest.mark.parametrize("report", EVERY_REPORT)
def test_the_twin_differs_in_a_few_lines(report: Report) -> None:
    kinds = [line[:1] for line in ndiff(report.program.code, report.twin.code) if line[:1] in "+-"]
    assert 0 < max(kinds.count("+"), kinds.count("-")) <= MOST_CHANGED_LINES


@pytest.mark.parametrize("path", sorted(declared.REPORTS.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_program_is_a_short_example_that_knows_nothing_of_fakerun(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert text.startswith('"""')
    assert "fakerun" not in text


def test_every_program_is_in_the_suite() -> None:
    assert sorted(path.name for path in declared.REPORTS.iterdir()) == sorted(report.name for report in REPORTS)


def test_the_page_shows_the_cases() -> None:
    assert table.PAGE.read_text() == table.page(), "python -m tests.memory_reports.table"
