"""JUnit XML, which every CI system shows as tests: a testsuite for each job, a testcase for each thing that was checked.

Source: the XSD of Jenkins' xUnit plugin (`junit-10.xsd`), which pytest's own output is held against. There is no time and no host: the
same job gives the same bytes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

from fakerun.printable import cut, printable
from fakerun.records.finding_code import Severity
from fakerun.report.diagnostics import Diagnostic, diagnostics_of
from fakerun.report.job_report import JobResult
from fakerun.report.model import Check
from fakerun.report.page.summary import summary

_MOST_OF_AN_ATTRIBUTE = 1000

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (W3C, "Extensible Markup Language (XML) 1.0", 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A testcase. `result` is None if it passed; the script's own failures are errors, what is ignored is skipped, all else fails."""

    name: str
    result: ET.Element | None = None
    output: str = ""


def render(jobs: Sequence[JobResult], /) -> str:
    """Whether the script ran, what was checked of it, and every finding that fails the job."""
    suites = ET.Element("testsuites", name="fakerun")
    for job in jobs:
        suites.append(_suite(job))
    for count in ("tests", "failures", "errors"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _suite(job: JobResult) -> ET.Element:
    elements = [_testcase(job, case) for case in _cases(job)]
    suite = ET.Element(
        "testsuite",
        name=_text(printable(job.name)),
        tests=str(len(elements)),
        failures=str(sum(each.find("failure") is not None for each in elements)),
        errors=str(sum(each.find("error") is not None for each in elements)),
        skipped=str(sum(each.find("skipped") is not None for each in elements)),
    )
    suite.extend(elements)
    result = summary(job.report)
    ET.SubElement(suite, "system-out").text = _text(f"{result.verdict}  {result.text}")
    return suite


def _cases(job: JobResult) -> Iterator[_Case]:
    """A finding that is why a check did not pass is not told twice."""
    report = job.report
    failing = [each for each in diagnostics_of([job]) if each.level is Severity.ERROR]
    yield _Case(name="the script runs", result=_result("error", [each for each in failing if each.rule.is_ending]))
    rest = [each for each in failing if not each.rule.is_ending]
    for check in report.checks:
        told = [each for each in rest if check.finding is not None and each.tells(check.finding)]
        yield _check_case(check, told)
        rest = [each for each in rest if each not in told]
    yield from _numbered(_Case(name=_name(each), result=_result("failure", [each])) for each in rest)


def _check_case(check: Check, told: Sequence[Diagnostic]) -> _Case:
    source = f" ({check.source})" if check.source else ""
    output = f"measured {check.measured}, limit {check.limit}{source}"
    result = None if check.passed else _result("failure", told)
    if check.is_ignored and check.finding is not None:
        result = ET.Element("skipped", message=_text(f"{check.finding.code} is ignored"))
    elif not check.passed and result is None:  # its finding is told by another check
        result = ET.Element("failure", type=_text(check.name), message=_text(printable(output)))
    return _Case(name=f"{check.name}{f' of {check.subject}' * bool(check.subject)}", result=result, output=output)


def _numbered(cases: Iterable[_Case]) -> Iterator[_Case]:
    """Names are unique in a suite."""
    names: Counter[str] = Counter()
    for case in cases:
        names[case.name] += 1
        yield case if names[case.name] == 1 else replace(case, name=f"{case.name} ({names[case.name]})")


def _name(diagnostic: Diagnostic) -> str:
    """Without a line, so that CI systems recognise it after an edit elsewhere in the file."""
    place = diagnostic.place
    where = "" if place is None or place.line is None else f" in {place.path}{f': {place.function}' * (place.function is not None)}"
    return f"{diagnostic.rule.id}{where}"


def _testcase(job: JobResult, case: _Case) -> ET.Element:
    element = ET.Element("testcase", classname=_text(printable(job.name)), name=_text(printable(case.name)))
    if case.result is not None:
        element.append(case.result)
    if case.output:
        ET.SubElement(element, "system-out").text = _text(printable(case.output))
    return element


def _result(kind: str, diagnostics: Sequence[Diagnostic]) -> ET.Element | None:
    """The message of the first, and all of them in full; None if there are none."""
    for first in diagnostics:
        result = ET.Element(kind, type=first.rule.id, message=_text(cut(first.message, _MOST_OF_AN_ATTRIBUTE)))
        result.text = _text("\n\n".join(_explanations(diagnostics)))
        return result
    return None


def _explanations(diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
    """The place first, as compilers write it: editors and CI systems make a link of it."""
    for each in diagnostics:
        place = "" if each.place is None else f"{each.place.path}:{each.place.line or 1}: "
        yield "\n".join((f"{place}{each.rule.title}", *each.sentences(of_jobs=False)))
        if each.traceback:
            yield each.traceback.rstrip()


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
