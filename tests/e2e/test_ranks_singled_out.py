"""Programs that single ranks out of 512 where no line of the script names them: `--ranks auto` must find which, and only these."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fakerun.job.ranks import AUTO_RANKS
from fakerun.job.request import JobRequest
from fakerun.launch import JobRun, RankServer, open_run_directory, run_jobs
from fakerun.records.finding_code import Severity
from fakerun.report import build_report
from fakerun.report.model import Report
from tests.commands import REPOSITORY, fakerun
from tests.shared_results import SharedResults

PROGRAMS = Path("tests/programs/ranks_singled_out")
EXPECTED = {"in_a_list.py": list(range(296, 304)), "in_another_module.py": [300], "every_third.py": []}
"""By program the ranks that leave out a call."""


@pytest.fixture
def reports(shared_results: SharedResults) -> dict[str, Report]:
    return shared_results.get("ranks singled out", _reports)


def _reports() -> dict[str, Report]:
    requests = (JobRequest(script=REPOSITORY / PROGRAMS / name, nnodes=64, nproc_per_node=8, ranks=AUTO_RANKS) for name in EXPECTED)
    jobs = [request.resolve() for request in requests]
    with RankServer() as server:
        runs = run_jobs([JobRun(job, open_run_directory(None)) for job in jobs], server)
    return {name: build_report(job, run) for name, job, run in zip(EXPECTED, jobs, runs, strict=True)}


@pytest.mark.parametrize(("name", "ranks"), EXPECTED.items())
def test_ranks_that_leave_out_a_call_are_found(reports: dict[str, Report], name: str, ranks: Sequence[int]) -> None:
    errors = [finding for finding in reports[name].findings if finding.severity is Severity.ERROR]
    assert [(finding.code.value, list(finding.ranks)) for finding in errors] == ([("missing-collective", ranks)] if ranks else [])
    assert reports[name].exit_code == (1 if ranks else 0)


@pytest.mark.parametrize("name", EXPECTED)
def test_that_all_was_followed_is_a_note(reports: dict[str, Report], name: str) -> None:
    assert [finding.code.value for finding in reports[name].findings if finding.severity is not Severity.ERROR] == ["ranks-represented"]
    assert len(reports[name].ranks) < 20


def test_a_module_that_runs_as_the_program() -> None:
    words = ("--nnodes", "64", "--nproc-per-node", "8", "--ranks", "auto", "-m", "in_another_module")
    result = fakerun(*words, cwd=REPOSITORY / PROGRAMS)
    assert result.returncode == 1
    assert "missing-collective  on rank 300  at other_module.py:" in result.stdout
