"""The registry of formats, and that importing the reports imports no expensive library."""

import subprocess
import sys

import pytest

from fakerun.errors import ExitCode
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import FORMATS, JobReport, build_report
from tests.unit.records_by_hand import job, run


def test_formats() -> None:
    assert [(each.name, each.extension, each.is_binary) for each in FORMATS.values()] == [
        ("table", "txt", False),
        ("json", "json", False),
        ("markdown", "md", False),
        ("comment", "md", False),
        ("junit", "xml", False),
        ("sarif", "sarif", False),
        ("github", "txt", False),
        ("gitlab", "json", False),
        ("csv", "csv", False),
        ("jsonl", "jsonl", False),
        ("svg", "svg", False),
        ("memory_snapshot", "pickle", True),
        ("trace", "json", False),
        ("timeline", "svg", False),
    ]
    assert all(name == each.name for name, each in FORMATS.items())


def test_every_format_renders_text_or_bytes_as_declared() -> None:
    for each in FORMATS.values():
        report = build_report(job(), run(RankRecord(rank=0)), with_history=each.needs_history, with_timeline=each.needs_timeline)
        content = each.render([JobReport(name="train.py", report=report)])
        rendered = content if isinstance(content, str | bytes) else "".join(content)
        assert isinstance(rendered, bytes if each.is_binary else str)
        assert each.is_binary or rendered[-1:] in ("\n", "")  # GitHub's annotations may be none


def test_report_carries_the_exit_code() -> None:
    error = Finding(code=FindingCode.DOES_NOT_FIT, message="no")
    failure = ProcessFailure(kind=FailureKind.TIMEOUT, exception=None, message="took too long")
    assert build_report(job(), run(RankRecord(rank=0))).exit_code is ExitCode.OK
    assert build_report(job(), run(RankRecord(rank=0, findings=(error,)))).exit_code is ExitCode.FINDINGS
    assert build_report(job(), run(RankRecord(rank=0, findings=(error,), failure=failure))).exit_code is ExitCode.SCRIPT_FAILED


def test_importing_the_reports_imports_no_expensive_library() -> None:
    code = "import sys, fakerun.report; print([name for name in ('torch', 'tabulate', 'pydantic', 'rich') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_format_that_needs_the_history_or_the_timeline_refuses_a_report_without() -> None:
    report = build_report(job(), run(RankRecord(rank=0)))
    for each in FORMATS.values():
        if each.needs_history or each.needs_timeline:
            with pytest.raises(ValueError, match=f"built without its {'history' if each.needs_history else 'timeline'}"):
                each.render([JobReport(name="train.py", report=report)])
