"""Diagnostics: all that a report has to say about a place, in the form that tools for pull requests take.

Findings, ranks that failed and ranks that are blocked become one list, each with a rule, a level, a place in the repository, and a
fingerprint. `formats/sarif.py`, `github.py`, `gitlab.py` and `junit.py` write them down.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.call_site import CallSite
from fakerun.printable import cut, printable
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind
from fakerun.report.job_report import JobResult
from fakerun.report.model import BlockedReport, Check, FailureReport
from fakerun.report.result import Result, fails
from fakerun.units import is_count, join_words, name_ranks

_JOBS_SHOWN = 3
_MOST_OF_A_MESSAGE = 4000
_MOST_OF_A_TRACEBACK = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A kind of diagnostic: a `FindingCode`, or a way in which ranks end. `page` is where the documentation describes it."""

    id: str
    severity: Severity
    title: str
    meaning: str
    way_out: str
    page: str
    is_ending: bool = False
    """Whether it is a way in which ranks end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file of the repository; without a line, the file as a whole. `path` is relative to the root, with slashes."""

    path: str
    line: int | None
    function: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """Another place that has to do with it, and what is there."""

    place: Place
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One statement about jobs.

    `level` is the severity with which it counts: what fails the run is an error. `place` is None where no file of the repository
    is known. `ranks` are those of any of the jobs. `related` are the limit that is not kept, and lines of other ranks. `fingerprint` stays
    the same when lines move or figures change: it is made of the rule, the file, the function, and the number among equal ones.
    `traceback` is empty, or what Python wrote.
    """

    jobs: tuple[str, ...]
    rule: Rule
    level: Severity
    message: str
    way_out: str
    ranks: tuple[int, ...]
    place: Place | None
    related: tuple[Related, ...] = ()
    traceback: str = ""
    finding: Finding | None = None
    """The finding that it tells, without its ranks."""
    fingerprint: str = ""

    def tells(self, finding: Finding) -> bool:
        """Whether it is about that finding, of whichever ranks."""
        return self.finding == _statement(finding)

    def sentences(self, *, of_jobs: bool) -> tuple[str, ...]:
        """What happened, the way out, and, with `of_jobs`, in which jobs."""
        message = self.message if self.message.endswith((".", "!", "?")) else f"{self.message}."
        return (message, self.way_out, *((f"In {_name_jobs(self.jobs)}.",) if of_jobs else ()))


def diagnostics_of(jobs: Sequence[JobResult]) -> tuple[Diagnostic, ...]:
    """Those of all jobs, the most severe first; what several jobs have in common is said once, with the names of all."""
    merged: dict[Diagnostic, Diagnostic] = {}
    for each in (diagnostic for job in jobs for diagnostic in _diagnostics(job)):
        statement = replace(each, jobs=(), ranks=())
        known = merged.get(statement, statement)
        names = dict.fromkeys((*known.jobs, *each.jobs))
        merged[statement] = replace(each, jobs=tuple(names), ranks=tuple(sorted({*known.ranks, *each.ranks})))
    severities = list(Severity)
    return tuple(_with_fingerprints(sorted(merged.values(), key=lambda each: severities.index(each.level))))


def rules() -> tuple[Rule, ...]:
    """All kinds of diagnostics there are: those of findings, and the ways in which ranks end."""
    return (*map(_rule, FindingCode), *_ENDINGS)


def shown_paths(report: Result) -> frozenset[str]:
    """The files that the report names in its diagnostics, as call sites show them, and the program."""
    sites = {
        *map(_source, report.checks),
        *(each.call_site for each in report.findings),
        *(site for each in report.findings for site in each.other_call_sites),
        *(each.call_site for each in report.blocked),
        *(each.failure.call_site for each in report.failures),
    }
    return frozenset({report.job.program, *(site.path for site in sites if site is not None)})


def _diagnostics(job: JobResult) -> Iterator[Diagnostic]:
    """What ended ranks comes first: findings may follow from it. That ranks are blocked is only said where nothing else says why."""
    report = job.report
    limits = {_statement(check.finding): check for check in report.checks if check.finding is not None}
    yield from (_of_failure(job, each) for each in report.failures)
    yield from (_of_finding(job, each, limits.get(_statement(each))) for each in report.findings)
    if not report.failures and not any(fails(report, finding) for finding in report.findings):
        yield from (_of_blocked(job, each) for each in report.blocked)


def _statement(finding: Finding) -> Finding:
    """What a check and the report have in common of one finding: the report joins the ranks of equal ones."""
    return replace(finding, ranks=())


def _of_finding(job: JobResult, finding: Finding, check: Check | None) -> Diagnostic:
    """At the line of the program; that of the limit is related, or the place where there is no other."""
    limit = None if check is None else _in_repository(job, _source(check))
    place = _in_repository(job, finding.call_site) or limit or _program(job)
    others = filter(None, (_in_repository(job, site) for site in finding.other_call_sites))
    related = (
        *((Related(place=limit, what=f"the limit on {check.name}"),) if check is not None and limit is not None else ()),
        *(Related(place=other, what="what other ranks call") for other in others),
    )
    return Diagnostic(
        jobs=(printable(job.name),),
        rule=_rule(finding.code),
        level=Severity.ERROR if fails(job.report, finding) else finding.severity,
        message=_message(finding.message, job, finding.call_site),
        way_out=printable(finding.hint or finding.code.way_out),
        ranks=finding.ranks,
        place=place,
        related=tuple(each for each in related if each.place != place),
        finding=_statement(finding),
    )


def _of_failure(job: JobResult, each: FailureReport) -> Diagnostic:
    failure, rule = each.failure, _FAILURES[each.failure.kind]
    return Diagnostic(
        jobs=(printable(job.name),),
        rule=rule,
        level=Severity.ERROR,
        message=_message(f"{name_ranks(each.ranks)} failed in step {each.steps}: {failure.summary_line}", job, failure.call_site),
        way_out=rule.way_out,
        ranks=each.ranks,
        place=_in_repository(job, failure.call_site) or _program(job),
        traceback=cut(printable(failure.traceback), _MOST_OF_A_TRACEBACK),
    )


def _of_blocked(job: JobResult, each: BlockedReport) -> Diagnostic:
    return Diagnostic(
        jobs=(printable(job.name),),
        rule=_BLOCKED,
        level=Severity.ERROR,
        message=_message(f"{name_ranks(each.ranks)} {each.waiting}, in step {each.steps}.", job, each.call_site),
        way_out=_BLOCKED.way_out,
        ranks=each.ranks,
        place=_in_repository(job, each.call_site) or _program(job),
    )


def _name_jobs(jobs: Sequence[str]) -> str:
    more = [f"{len(jobs) - _JOBS_SHOWN} others"] if len(jobs) > _JOBS_SHOWN else []
    return f"job{'s' * (len(jobs) > 1)} {join_words([*jobs[:_JOBS_SHOWN], *more])}"


def _message(text: str, job: JobResult, site: CallSite | None) -> str:
    """The message names the line where the diagnostic cannot be attached to it."""
    where = f" (at {site})" if site is not None and site.path not in job.paths and str(site) not in text else ""
    return f"{cut(printable(text), _MOST_OF_A_MESSAGE)}{where}"


def _in_repository(job: JobResult, site: CallSite | None) -> Place | None:
    path = None if site is None else job.paths.get(site.path)
    return None if site is None or path is None else Place(path=path, line=site.line or None, function=site.function)


def _program(job: JobResult) -> Place | None:
    """The program as a whole."""
    program = job.paths.get(job.report.job.program)
    return None if program is None else Place(path=program, line=None)


def _source(check: Check) -> CallSite | None:
    """The line of the job file that has the limit; None for one of the command line."""
    path, _, line = check.source.rpartition(":")
    return CallSite(path, int(line)) if path and is_count(line) else None


def _with_fingerprints(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    seen: Counter[tuple[str, ...]] = Counter()
    for each in diagnostics:
        place = each.place
        key = (each.rule.id, *(() if place is None else (place.path, place.function or "")))
        text = "\0".join((*key, str(seen[key])))
        seen[key] += 1
        yield replace(each, fingerprint=hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32])


# -- rules -------------------------------------------------------------------------------------------------------------------------------


def _rule(code: FindingCode) -> Rule:
    return Rule(
        id=code.value,
        severity=code.severity,
        title=code.title,
        meaning=code.meaning,
        way_out=code.way_out,
        page=f"docs/findings.md#{code.value}",
    )


def _ending(rule_id: str, title: str, meaning: str, way_out: str) -> Rule:
    page = "docs/command_line.md#exit-codes"
    return Rule(id=rule_id, severity=Severity.ERROR, title=title, meaning=meaning, way_out=way_out, page=page, is_ending=True)


_SCRIPT_FAILED = _ending(
    "script-failed",
    "The script failed",
    "The script raised an exception on some rank, ended itself with a status, was killed by a signal, or took longer than --timeout.",
    "Mend the script; its traceback is in the report.",
)
_EMULATION_GAP = _ending(
    "emulation-gap",
    "Not emulated",
    "The script needs something of torch or CUDA that fakerun does not emulate.",
    "The message names a way around it; docs/not_emulated.md lists all.",
)
_WRONG_USAGE = _ending(
    "wrong-usage",
    "The job does not fit the script",
    "What the job asks for does not fit what the script does: its mesh has another number of axes.",
    "Correct the job.",
)
_INTERRUPTED = _ending("interrupted", "Interrupted", "The run was interrupted before its end.", "Run it again.")
_INTERNAL = _ending("internal-error", "Internal error", "fakerun itself failed.", "Report it, with the traceback.")
_BLOCKED = _ending(
    "rank-blocked",
    "Rank that waits for ever",
    "A rank waits in a call whose counterpart others never issue, or for a key that no rank sets.",
    "See what the report says of the ranks that it waits for.",
)
_ENDINGS = (_SCRIPT_FAILED, _EMULATION_GAP, _WRONG_USAGE, _INTERRUPTED, _INTERNAL, _BLOCKED)

_FAILURES: Mapping[FailureKind, Rule] = {
    FailureKind.EXCEPTION: _SCRIPT_FAILED,
    FailureKind.EXIT: _SCRIPT_FAILED,
    FailureKind.SIGNAL: _SCRIPT_FAILED,
    FailureKind.TIMEOUT: _SCRIPT_FAILED,
    FailureKind.GAP: _EMULATION_GAP,
    FailureKind.USAGE: _WRONG_USAGE,
    FailureKind.INTERRUPTED: _INTERRUPTED,
    FailureKind.INTERNAL: _INTERNAL,
}
