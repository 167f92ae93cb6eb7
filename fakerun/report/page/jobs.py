"""The page about several jobs: a line for each, and below it what made jobs fail."""

from collections import Counter
from collections.abc import Iterator, Sequence

from fakerun.errors import ExitCode, worst
from fakerun.records.finding_code import Severity
from fakerun.report.job_report import JobResult
from fakerun.report.page.blocks import Block, Clip, Column, Fact, Facts, Page, Prose, Row, Section, Summary, Table, Tone
from fakerun.report.page.failures import failures_section
from fakerun.report.page.findings import findings_section
from fakerun.report.page.printable_page import printable_page
from fakerun.report.page.summary import verdict
from fakerun.report.result import Result, fails
from fakerun.units import format_bytes

_NONE = "-"


def page_of_jobs(jobs: Sequence[JobResult]) -> Page:
    """The table of the jobs, in their order, then a section for each that failed."""
    failed = [job for job in jobs if job.report.exit_code is not ExitCode.OK]
    return printable_page(
        Page(
            summary=_summary(jobs, failed),
            title=f"fakerun {jobs[0].report.fakerun_version}  {_count(len(jobs), 'job')}" if jobs else "no job",
            facts=Facts(facts=tuple(_facts(jobs))),
            sections=(Section(title="Jobs", blocks=(_table(jobs),)), *map(_failed_section, failed)),
        )
    )


def _summary(jobs: Sequence[JobResult], failed: Sequence[JobResult]) -> Summary:
    """`NOT OK  1 of 3 jobs failed (train); 14 of 15 checks passed`."""
    names = f" ({', '.join(job.name for job in failed)})" if failed else ""
    text = f"{len(failed)} of {_count(len(jobs), 'job')} failed{names}" if failed else f"{_count(len(jobs), 'job')} passed"
    checks = [check for job in jobs for check in job.report.checks]
    if checks:
        text += f"; {sum(check.passed for check in checks)} of {_count(len(checks), 'check')} passed"
    code = worst(job.report.exit_code for job in jobs)
    return Summary(verdict=verdict(code), tone=Tone.BAD if failed else Tone.GOOD, text=text)


def _facts(jobs: Sequence[JobResult]) -> Iterator[Fact]:
    versions = dict.fromkeys(f"torch {job.report.torch_version or 'unknown'}" for job in jobs)
    yield Fact(label="simulated", values=tuple(versions))


def _table(jobs: Sequence[JobResult]) -> Table:
    columns = (
        Column(heading="job", clip=Clip.KEEP_START, min_width=16),
        Column(heading="verdict"),
        Column(heading="ranks", align="right", priority=2),
        Column(heading="peak reserved", align="right"),
        Column(heading="of", align="right", priority=4),
        Column(heading="bus bytes", span="last step", align="right", priority=6),
        Column(heading="checks", align="right"),
        Column(heading="findings", priority=5),
    )
    return Table(columns=columns, rows=tuple(map(_row, jobs)))


def _row(job: JobResult) -> Row:
    report = job.report
    fit, bus_bytes = report.fit, report.bus_bytes_per_step
    checks = f"{sum(check.passed for check in report.checks)}/{len(report.checks)}" if report.checks else _NONE
    return Row(
        cells=(
            job.name,
            verdict(report.exit_code),
            f"{len(report.simulated)}/{report.job.world_size}",
            _NONE if fit is None else format_bytes(fit.peak_bytes),
            _NONE if fit is None else format_bytes(fit.usable_bytes),
            _NONE if bus_bytes is None else format_bytes(bus_bytes),
            checks,
            _counts(report) or _NONE,
        )
    )


def _counts(report: Result) -> str:
    """`1 error, 2 warnings`; notes are left out."""
    counts = Counter(finding.severity for finding in report.findings)
    return ", ".join(_count(counts[each], each) for each in (Severity.ERROR, Severity.WARNING) if counts[each])


def _failed_section(job: JobResult) -> Section:
    """What made the job fail: the checks that did not pass are among its findings."""
    report = job.report
    failing = tuple(each for each in report.grouped_findings if fails(report, each.finding))
    blocks: list[Block] = [*findings_section(failing, several_ranks=len(report.simulated) > 1).blocks] if failing else []
    if report.failures or report.blocked:
        blocks += failures_section(report).blocks
    return Section(title=job.name, remark=Prose(text=verdict(report.exit_code), tone=Tone.BAD), blocks=tuple(blocks))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
