"""Every bug is found for what it is, by the command and all ranks: its class, its ranks, its line, and nothing that follows from it.

Its twin, which differs in a line or two, has nothing that is wrong; nor has what looks like a bug and is none.
"""

from difflib import ndiff
from pathlib import Path

import pytest

from fakerun.errors import ExitCode
from fakerun.records.finding_code import Severity
from tests.matching import case as declared
from tests.matching import table
from tests.matching.case import BUG_MARK, PEER_MARK, Case
from tests.matching.cases import BUGS, LEGAL, REPORTS
from tests.matching.verdict import Verdict, verdict_on

EVERY_CASE = [pytest.param(case, id=case.name) for case in (*BUGS, *REPORTS)]

MOST_LINES, MOST_LINES_OF_A_REPORT = 40, 50
MOST_CHANGED_LINES = 4


@pytest.mark.parametrize("case", EVERY_CASE)
def test_the_bug_is_found_and_nothing_else(case: Case, verdict: Verdict) -> None:
    assert verdict.status == case.status, verdict.stderr
    of_ranks = [finding for finding in verdict.findings if finding.severity is not Severity.NOTE and finding.code not in case.besides]
    found = [(finding.code, finding.severity, finding.ranks, str(finding.call_site)) for finding in of_ranks]
    (where,) = case.program.lines(BUG_MARK)
    assert found == [(case.code, case.severity, case.ranks, where)], "\n".join(finding.message for finding in of_ranks)
    assert tuple(rank.rank for rank in verdict.ranks if rank.blocked) == case.blocked
    for words in (*case.says, *case.program.lines(PEER_MARK)):
        assert words in of_ranks[0].message


@pytest.mark.parametrize("case", EVERY_CASE)
def test_its_twin_is_fine(case: Case) -> None:
    verdict = verdict_on(case.twin.path, case.world_size)
    assert verdict.status == ExitCode.OK, verdict.stderr
    assert not [finding for finding in verdict.findings if finding.severity is Severity.ERROR or finding.code == case.code]


@pytest.mark.parametrize("name", LEGAL)
def test_legal_programs_have_no_findings(name: str) -> None:
    verdict = verdict_on(declared.LEGAL / f"{name}.py", 4)
    assert verdict.status == ExitCode.OK, verdict.stderr
    assert not [finding for finding in verdict.findings if finding.severity is not Severity.NOTE]


# ---- The suite itself


@pytest.mark.parametrize("case", EVERY_CASE)
def test_the_twin_differs_in_a_few_lines(case: Case) -> None:
    kinds = [line[:1] for line in ndiff(case.program.code, case.twin.code) if line[:1] in "+-"]
    assert 0 < max(kinds.count("+"), kinds.count("-")) <= MOST_CHANGED_LINES


@pytest.mark.parametrize("path", sorted(declared.BUGS.parent.glob("*/**/*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_program_is_a_short_example_that_knows_nothing_of_fakerun(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (MOST_LINES_OF_A_REPORT if path.is_relative_to(declared.REPORTS) else MOST_LINES)
    assert text.startswith('"""')
    assert "fakerun" not in text


def test_every_program_is_in_the_suite() -> None:
    assert sorted(path.name for path in declared.BUGS.iterdir() if path.is_dir()) == sorted(bug.name for bug in BUGS)
    assert sorted(path.name for path in declared.REPORTS.iterdir() if path.is_dir()) == sorted(report.name for report in REPORTS)
    assert sorted(path.stem for path in declared.LEGAL.glob("*.py")) == sorted(LEGAL)


def test_the_page_shows_the_cases() -> None:
    assert table.PAGE.read_text() == table.page(), "python -m tests.matching.table"
