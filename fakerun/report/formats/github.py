"""Annotations of a pull request: workflow commands of GitHub Actions, one a line, `::error file=,line=,title=::message`.

Sources: GitHub Docs, "Workflow commands for GitHub Actions" (the commands); the runner's `ActionCommand` (what is escaped: `%`, CR and LF,
in properties also `:` and `,`); "Limits": a step shows 10 annotations of each kind.
"""

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from fakerun.printable import cut
from fakerun.records.finding_code import Severity
from fakerun.report.diagnostics import Diagnostic, diagnostics_of
from fakerun.report.job_report import JobResult

MOST_OF_A_KIND = 10
_MOST_OF_A_TITLE = 200

_COMMANDS = MappingProxyType({Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"})


def render(jobs: Sequence[JobResult], /) -> str:
    """The most severe first. Of a kind that has more than GitHub shows, the last annotation says how many are left out."""
    diagnostics = diagnostics_of(jobs)
    lines = [
        line
        for level, command in _COMMANDS.items()
        for line in _annotations(command, [each for each in diagnostics if each.level is level], several_jobs=len(jobs) > 1)
    ]
    return "".join(f"{line}\n" for line in lines)


def _annotations(command: str, diagnostics: Sequence[Diagnostic], *, several_jobs: bool) -> Iterator[str]:
    shown = diagnostics if len(diagnostics) <= MOST_OF_A_KIND else diagnostics[: MOST_OF_A_KIND - 1]
    yield from (_annotation(command, each, several_jobs=several_jobs) for each in shown)
    if left_out := len(diagnostics) - len(shown):
        yield f"::{command} title=fakerun::{left_out} more of this kind: GitHub shows {MOST_OF_A_KIND} a step. The report has all of them."


def _annotation(command: str, diagnostic: Diagnostic, *, several_jobs: bool) -> str:
    place = diagnostic.place
    title = f"{diagnostic.rule.title} [{diagnostic.rule.id}]"
    properties = {
        **({} if place is None else {"file": place.path}),
        **({} if place is None or place.line is None else {"line": str(place.line)}),
        "title": cut(title, _MOST_OF_A_TITLE),
    }
    written = ",".join(f"{name}={_escaped_property(value)}" for name, value in properties.items())
    message = "\n".join(diagnostic.sentences(of_jobs=several_jobs))
    return f"::{command} {written}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
