"""Why a test fails: the errors of a report as the text that pytest shows."""

from fakerun.errors import ExitCode
from fakerun.records.finding_code import Severity
from fakerun.report import JobReport, Report
from fakerun.report.diagnostics import diagnostics_of


def told_of(name: str, report: Report) -> str:
    """Why the job fails, an error a paragraph with its place; empty if it does not fail."""
    if report.exit_code is ExitCode.OK:
        return ""
    errors = [each for each in diagnostics_of([JobReport(name=name, report=report)]) if each.level is Severity.ERROR]
    told = []
    for error in errors:
        site = error.finding.call_site if error.finding is not None else None
        place = "" if site is None else f"{site.path}:{site.line}: "
        told.append(place + " ".join(error.sentences(of_jobs=False)) + (f"\n{error.traceback}" if error.traceback else ""))
    return "\n\n".join([f"fakerun: {name} fails, exit code {int(report.exit_code)}", *told])
