"""The section of checks: what the run was held against, passed or not."""

from fakerun.report.model import Check, Report
from fakerun.report.page.blocks import Clip, Column, Prose, Row, Section, Table

_COLUMNS = (
    Column(heading="budget"),
    Column(heading="of", clip=Clip.KEEP_START, min_width=8, priority=2),
    Column(heading="limit", align="right"),
    Column(heading="measured", align="right", clip=Clip.KEEP_START, min_width=22),
    Column(heading="result"),
    Column(heading="from", clip=Clip.KEEP_FILE, min_width=10, priority=3),
)


def checks_section(report: Report) -> Section:
    """A line for each check, in the order of the budgets."""
    passed, ignored = (sum(getattr(check, name) for check in report.checks) for name in ("passed", "is_ignored"))
    return Section(
        title="Budgets",
        remark=Prose(text=f"{passed} of {len(report.checks)} kept{f', {ignored} ignored' * bool(ignored)}"),
        blocks=(Table(columns=_COLUMNS, rows=tuple(map(_row, report.checks))),),
    )


def _row(check: Check) -> Row:
    return Row(cells=(check.name, check.subject or "-", check.limit, check.measured or "-", result(check), check.source or "default"))


def result(check: Check) -> str:
    """`ok`, `ignored`, `FAILED`, or `UNKNOWN`: the finding says why."""
    if check.passed or check.is_ignored:
        return "ok" if check.passed else "ignored"
    return "UNKNOWN" if check.is_unknown else "FAILED"
