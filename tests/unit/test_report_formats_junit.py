"""JUnit XML, read by junitparser, by the rules of XML, and by those of Jenkins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from fakerun.report import JobReport
from fakerun.report.formats.junit import render
from tests.unit.jobs_by_hand import HOSTILE, checked_job, findings, job_report, several_jobs, skipped

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Allowed:
    """What an element may have: attributes that must be there, others, elements in any order, text."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    has_text: bool = False


_RESULT = Allowed(optional=frozenset({"type", "message"}), has_text=True)
JENKINS: Mapping[str, Allowed] = {
    "testsuites": Allowed(optional=frozenset({"name", "time", "tests", "failures", "errors"}), inside=frozenset({"testsuite"})),
    "testsuite": Allowed(
        required=frozenset({"name", "tests", "failures", "errors"}),
        optional=frozenset({"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"}),
        inside=frozenset({"testsuite", "properties", "testcase", "system-out", "system-err"}),
    ),
    "testcase": Allowed(
        required=frozenset({"name"}),
        optional=frozenset({"time", "classname", "group"}),
        inside=frozenset({"skipped", "error", "failure", "system-out", "system-err"}),
    ),
    **dict.fromkeys(("failure", "error", "skipped"), _RESULT),
    **dict.fromkeys(("system-out", "system-err"), Allowed(has_text=True)),
}
"""The rules of `junit-10.xsd` of Jenkins' xUnit plugin (github.com/jenkinsci/xunit-plugin, 031e285), without its reruns and properties.

xmlschema 4.3.2 finds the pages of this test valid by that file, too.
"""


def breaches(element: ET.Element) -> list[str]:
    """What Jenkins refuses in an element and in all that is in it."""
    allowed = JENKINS.get(element.tag, Allowed())
    names = set(element.attrib)
    found = [f"{element.tag} without {each}" for each in sorted(allowed.required - names)]
    found += [f"{element.tag} with {each}" for each in sorted(names - allowed.required - allowed.optional)]
    found += [f"{each.tag} in {element.tag}" for each in element if each.tag not in allowed.inside]
    texts = [element.text, *(each.tail for each in element)]
    if not allowed.has_text and any(text and text.strip() for text in texts):
        found.append(f"text in {element.tag}")
    return [*found, *(breach for each in element for breach in breaches(each))]


@pytest.mark.parametrize(
    "jobs", [several_jobs(), (checked_job(),), (job_report(*findings()),), ()], ids=["several", "checked", "findings", "none"]
)
def test_jenkins_takes_it(jobs: Sequence[JobReport]) -> None:
    assert breaches(ET.fromstring(render(jobs))) == []


@pytest.mark.parametrize(
    ("wrong", "breach"),
    [
        ("<testsuites><testcase name='a'/></testsuites>", "testcase in testsuites"),
        ("<testsuites><testsuite name='a' tests='1' errors='0'/></testsuites>", "testsuite without failures"),
        ("<testcase name='a' file='b.py'/>", "testcase with file"),
        ("<testcase name='a'>passed</testcase>", "text in testcase"),
        ("<testcase name='a'><failure line='3'/></testcase>", "failure with line"),
        ("<testcase name='a'><failure><system-out/></failure></testcase>", "system-out in failure"),
    ],
)
def test_jenkins_refuses(wrong: str, breach: str) -> None:
    assert breaches(ET.fromstring(wrong)) == [breach]


def suites(*jobs: JobReport) -> list[TestSuite]:
    read = JUnitXml.fromstring(render(jobs).encode())
    found = list(read)
    assert (read.tests, read.failures, read.errors) == tuple(
        sum(getattr(each, count) for each in found) for count in ("tests", "failures", "errors")
    )
    return found


def cases(suite: TestSuite) -> dict[str, TestCase]:
    found = list(suite)
    named = {str(case.name): case for case in found}
    assert len(named) == len(found) == suite.tests
    assert sum(isinstance(result, Failure) for case in found for result in case.result) == suite.failures
    assert sum(isinstance(result, Error) for case in found for result in case.result) == suite.errors
    return named


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.junit.xml").read_text(encoding="utf-8")


def test_a_suite_for_each_job() -> None:
    found = suites(*several_jobs())
    assert [suite.name for suite in found][:3] == ["dense", "fine", "failing"]
    assert [(suite.failures, suite.errors) for suite in found] == [(2, 0), (0, 0), (1, 1), (1, 0), (3, 0)]
    for suite in found:
        assert cases(suite)


def test_a_finding_that_fails_is_a_case_with_place_message_and_way_out() -> None:
    (suite,) = suites(job_report(*findings()))
    found = cases(suite)
    assert list(found) == ["the script runs", "fits", "missing-collective in training/models/net.py: forward"]
    case = found["missing-collective in training/models/net.py: forward"]
    (failure,) = case.result
    assert (case.classname, failure.type, failure.message) == ("dense", "missing-collective", skipped().message)
    assert failure.text.splitlines() == [
        "training/models/net.py:18: Missing collective",
        skipped().message,
        "Let every rank make the same calls.",
    ]


def test_a_check_is_a_case_passed_or_not_with_what_was_measured() -> None:
    (suite,) = suites(checked_job())
    found = cases(suite)
    assert {name: [result.type for result in case.result] for name, case in found.items()} == {
        "the script runs": [],
        "peak_reserved of rank 0": ["over-budget"],
        "communication.tp.calls": [],
        "headroom of rank 3": ["unverified-budget"],
        "ranks_agree": [],
        "missing-collective in training/models/net.py: forward": ["missing-collective"],
    }
    assert found["communication.tp.calls"].system_out == "measured 4, limit at most 8 (fakerun.yaml:9)"
    assert found["peak_reserved of rank 0"].result[0].text.startswith("fakerun.yaml:7: ")


def test_a_check_that_did_not_pass_never_passes() -> None:
    """Though no diagnostic tells of it."""
    one = checked_job()
    (suite,) = suites(replace(one, report=replace(one.report, findings=())))
    (failure,) = cases(suite)["peak_reserved of rank 0"].result
    assert (failure.type, failure.message) == ("peak_reserved", "measured 80.1 GiB, limit 70 GiB (fakerun.yaml:7)")


def test_a_check_that_is_ignored_is_skipped() -> None:
    one = checked_job()
    over, *others = one.report.checks
    ignored = replace(one.report, findings=(), checks=(replace(over, is_ignored=True), *others))
    (suite,) = suites(replace(one, report=ignored))
    (result,) = cases(suite)["peak_reserved of rank 0"].result
    assert isinstance(result, Skipped)
    assert (result.message, suite.skipped, suite.failures) == ("over-budget is ignored", 1, 1)


def test_a_case_keeps_its_name_when_lines_move() -> None:
    before, after = (list(cases(suites(job_report(skipped(line), skipped(line + 1)))[0])) for line in (18, 300))
    assert before == after
    assert before[1:] == [
        "missing-collective in training/models/net.py: forward",
        "missing-collective in training/models/net.py: forward (2)",
    ]


def test_a_script_that_fails_is_an_error_with_its_traceback() -> None:
    (suite,) = suites(several_jobs()[2])
    (error,) = cases(suite)["the script runs"].result
    assert error.type == "script-failed"
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in error.message
    assert "Traceback (most recent call last):" in error.text
    assert "killed by SIGKILL" in error.text


def test_a_warning_fails_only_where_it_is_to() -> None:
    warning = findings()[2]
    assert suites(job_report(warning))[0].failures == 0
    assert suites(job_report(warning, strict=True))[0].failures == 1


def test_the_output_is_the_result_in_a_line() -> None:
    output = ET.fromstring(render([job_report(*findings())])).findtext("testsuite/system-out")
    assert output == "NOT OK  no device memory, 2 errors, 1 warning; not checked: 3 of 4 ranks"


@pytest.mark.parametrize("name", ["a", HOSTILE, ""])
def test_it_is_xml_whatever_is_in_it(name: str) -> None:
    root = ET.fromstring(render([job_report(*findings(), name=name)]).encode())
    assert root.tag == "testsuites"
