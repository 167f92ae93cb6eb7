"""The page as text for a terminal, a file or a pipe: wrapped and fitted to a width, with ANSI colours where they are allowed."""

from collections.abc import Sequence

from fakerun.report.formats.text.blocks import page_lines
from fakerun.report.formats.text.style import Style
from fakerun.report.job_report import JobResult, whole_report
from fakerun.report.model import Comparison, Report
from fakerun.report.page import page_of
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.jobs import page_of_jobs


def render(result: Report | Comparison, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The page in at most `width` columns; without a width in `FILE_WIDTH`, and a listing of calls in as many as it needs."""
    return "\n".join(page_lines(page_of(result, detail), Style(color=color, terminal_width=width))) + "\n"


def render_jobs(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The page about several jobs; of a single one, its own."""
    if len(jobs) == 1:
        return render(whole_report(jobs[0]).report, detail=detail, color=color, width=width)
    return "\n".join(page_lines(page_of_jobs(jobs), Style(color=color, terminal_width=width))) + "\n"
