"""Annotations, read back by the rules that GitHub documents for workflow commands."""

import re
from dataclasses import dataclass
from pathlib import Path

from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.report.formats.github import MOST_OF_A_KIND, render
from tests.unit.jobs_by_hand import findings, job_report, several_jobs, skipped
from tests.unit.records_by_hand import site

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """As the runner reads it."""

    command: str
    properties: dict[str, str]
    message: str


def annotations(text: str) -> list[Annotation]:
    """A line is a command if it is `::name properties::data`; `%` escapes are undone last, the percent sign itself after the others."""
    assert text.endswith("\n")
    found = []
    for line in text.splitlines():
        command = re.fullmatch(r"::(error|warning|notice)(?: ([^:]*))?::(.*)", line)
        assert command is not None, line
        pairs = [pair.partition("=") for pair in (command[2] or "").split(",") if pair]
        properties = {name: unescaped(value, {"%3A": ":", "%2C": ","}) for name, _, value in pairs}
        found.append(Annotation(command=command[1], properties=properties, message=unescaped(command[3], {})))
    return found


def unescaped(text: str, more: dict[str, str]) -> str:
    for escape, character in {"%0D": "\r", "%0A": "\n", **more, "%25": "%"}.items():
        text = text.replace(escape, character)
    return text


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.github.txt").read_text(encoding="utf-8")


def test_it_is_read_back_by_the_documented_rules() -> None:
    skip, fit, wait, note = annotations(render([job_report(*findings())]))
    assert (skip.command, skip.properties["file"], skip.properties["line"]) == ("error", "training/models/net.py", "18")
    assert skip.properties["title"] == "Missing collective [missing-collective]"
    assert skip.message == f"{skipped().message}\nLet every rank make the same calls."
    assert (fit.command, fit.properties.get("line")) == ("error", None)
    assert (wait.command, wait.properties["file"], wait.properties["line"]) == ("warning", "training/a:b, c%20.py", "7")
    assert wait.message.startswith("100% <of> \"it\" & 'more': a,b;\n::error::no \\x1b[31m\\x00 \\ud800")
    assert note.command == "notice"


def test_a_message_cannot_write_a_command_of_its_own() -> None:
    assert len(annotations(render([job_report(findings()[2])]))) == 1


def test_it_is_utf_8() -> None:
    assert render(several_jobs()).encode()


def many(code: FindingCode, count: int) -> list[Finding]:
    return [Finding(code=code, message=f"number {at}", call_site=site(f"train.py:{at + 1}")) for at in range(count)]


def test_at_most_ten_of_a_kind_and_the_last_counts_the_rest() -> None:
    found = annotations(render([job_report(*many(FindingCode.UNKNOWN_VALUE, 14), *many(FindingCode.DOES_NOT_FIT, 11))]))
    errors, notices = ([each for each in found if each.command == command] for command in ("error", "notice"))
    assert len(errors) == len(notices) == MOST_OF_A_KIND
    assert [each.message.partition("\n")[0] for each in errors[:-1]] == [f"number {at}." for at in range(9)]
    assert errors[-1].message == "2 more of this kind: GitHub shows 10 a step. The report has all of them."
    assert notices[-1].message.startswith("5 more of this kind")


def test_ten_of_a_kind_are_all_shown() -> None:
    found = annotations(render([job_report(*many(FindingCode.DOES_NOT_FIT, 10))]))
    assert [each.message.partition("\n")[0] for each in found] == [f"number {at}." for at in range(10)]


def test_jobs_are_named_where_there_are_several() -> None:
    names = [f"job-{at}" for at in range(5)]
    (only,) = annotations(render([job_report(skipped(), name=name) for name in names]))
    assert only.message.endswith("\nIn jobs job-0, job-1, job-2 and 2 others.")
    assert "job" not in render([job_report(skipped())])


def test_nothing_to_say_is_nothing() -> None:
    assert render([job_report()]) == ""
