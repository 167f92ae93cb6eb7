"""JUnit XML, which every CI system shows as tests: a testsuite for each job, a testcase for each thing that was checked.

Source: the XSD of Jenkins' xUnit plugin (`junit-10.xsd`), which pytest's own output is held against. There is no time and no host: the
same job gives the same bytes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from fakerun.printable import cut, printable
from fakerun.records.finding_code import Severity
from fakerun.report.diagnostics import Diagnostic, diagnostics_of
from fakerun.report.job_report import JobReport
from fakerun.report.page.summary import summary

_MOST_OF_AN_ATTRIBUTE = 1000

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (W3C, "Extensible Markup Language (XML) 1.0", 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A testcase; one with diagnostics did not pass. The script's own failures are errors, all else is a failure."""

    name: str
    diagnostics: tuple[Diagnostic, ...] = ()


def render(jobs: Sequence[JobReport], /) -> str:
    """Whether the script ran, what was checked of it, and every finding that fails the job."""
    suites = ET.Element("testsuites", name="fakerun")
    for job in jobs:
        suites.append(_suite(job))
    for count in ("tests", "failures", "errors"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _suite(job: JobReport) -> ET.Element:
    elements = [_testcase(job, case) for case in _cases(job)]
    suite = ET.Element(
        "testsuite",
        name=_text(printable(job.name)),
        tests=str(len(elements)),
        failures=str(sum(each.find("failure") is not None for each in elements)),
        errors=str(sum(each.find("error") is not None for each in elements)),
        skipped="0",
    )
    suite.extend(elements)
    result = summary(job.report)
    ET.SubElement(suite, "system-out").text = _text(f"{result.verdict}  {result.text}")
    return suite


def _cases(job: JobReport) -> Iterator[_Case]:
    diagnostics = [each for each in diagnostics_of([job]) if each.level is Severity.ERROR]
    ended = tuple(each for each in diagnostics if each.rule.is_ending)
    yield _Case(name="the script runs", diagnostics=ended)
    names: Counter[str] = Counter()
    for each in diagnostics:
        if not each.rule.is_ending:
            name = _name(each)
            names[name] += 1
            yield _Case(name=name if names[name] == 1 else f"{name} ({names[name]})", diagnostics=(each,))


def _name(diagnostic: Diagnostic) -> str:
    """Without a line, so that CI systems recognise it after an edit elsewhere in the file."""
    place = diagnostic.place
    where = "" if place is None or place.line is None else f" in {place.path}{f': {place.function}' * (place.function is not None)}"
    return f"{diagnostic.rule.id}{where}"


def _testcase(job: JobReport, case: _Case) -> ET.Element:
    element = ET.Element("testcase", classname=_text(printable(job.name)), name=_text(case.name))
    for each in case.diagnostics[:1]:
        result = ET.SubElement(
            element,
            "error" if each.rule.is_ending else "failure",
            type=each.rule.id,
            message=_text(cut(each.message, _MOST_OF_AN_ATTRIBUTE)),
        )
        result.text = _text("\n\n".join(_explanations(case.diagnostics)))
    return element


def _explanations(diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
    """The place first, as compilers write it: editors and CI systems make a link of it."""
    for each in diagnostics:
        place = "" if each.place is None else f"{each.place.path}:{each.place.line or 1}: "
        yield "\n".join((f"{place}{each.rule.title}", *each.sentences(of_jobs=False)))
        if each.traceback:
            yield each.traceback.rstrip()


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
