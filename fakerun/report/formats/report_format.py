"""What a format is: a name, a file extension, how many jobs it takes, and a function from their reports to text or bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fakerun.report.job_report import JobReport, JobResult, whole_report
from fakerun.report.model import Report
from fakerun.report.page.detail import SHORT, Detail

Content: TypeAlias = str | bytes | Iterator[str]
"""What a format writes: a text, bytes, or a text in pieces where it may be too large to be held whole."""


class Render(Protocol):
    """The same jobs always give the same text. Their results suffice where the format says so; else each has its report.

    `detail` says how much to show where the format makes the choice; `color` allows ANSI colours; `width` is
    that of the terminal, None for a file or a pipe. A text ends with a newline.
    """

    def __call__(
        self, jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None
    ) -> Content: ...


class RenderReports(Protocol):
    """As `Render`, of reports."""

    def __call__(
        self, jobs: Sequence[JobReport], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None
    ) -> Content: ...


class RenderOne(Protocol):
    """As `Render`, of the one report."""

    def __call__(self, report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Content: ...


class RenderFiles(Protocol):
    """Of all jobs, several files for a directory: the name of each and its content, one after the other."""

    def __call__(self, jobs: Sequence[JobResult], /) -> Iterator[tuple[str, Content]]: ...


class RenderForProgram(Protocol):
    """Of all jobs, for a program to read: neither detail nor a terminal changes it."""

    def __call__(self, jobs: Sequence[JobResult], /) -> str: ...


class RenderReportsForProgram(Protocol):
    """As `RenderForProgram`, of reports."""

    def __call__(self, jobs: Sequence[JobReport], /) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """One output format.

    `extension` has no dot; of formats with the same one, the first in the registry is that of a file with this ending. `render` returns
    bytes if `is_binary`, else a text. It takes exactly one job, unless the format `takes_several_jobs`. A report
    that `needs_history` is built with what the allocators did, one that `needs_timeline` with the streams of a step. A format that has
    `render_files` can also be written to a directory. With `results_from` jobs or more their results suffice; with None never.
    """

    name: str
    extension: str
    is_binary: bool
    takes_several_jobs: bool
    render: Render
    needs_history: bool = False
    needs_timeline: bool = False
    render_files: RenderFiles | None = None
    results_from: int | None = None

    def needs_reports(self, number_of_jobs: int) -> bool:
        """Whether results do not suffice."""
        return self.results_from is None or number_of_jobs < self.results_from


def of_one(render: RenderOne) -> Render:
    """For a format that takes one job."""

    def render_only(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Content:
        (job,) = jobs
        return render(whole_report(job).report, detail=detail, color=color, width=width)

    return render_only


def of_reports(render: RenderReports) -> Render:
    """For a format that needs the reports of all jobs."""

    def render_reports(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Content:
        return render([whole_report(job) for job in jobs], detail=detail, color=color, width=width)

    return render_reports


def files_of_one(render: Callable[[Report], Iterator[tuple[str, Content]]]) -> RenderFiles:
    """For a format that takes one job."""

    def render_only(jobs: Sequence[JobResult], /) -> Iterator[tuple[str, Content]]:
        (job,) = jobs
        return render(whole_report(job).report)

    return render_only


def for_programs(render: RenderForProgram) -> Render:
    """For a format that is always the same."""

    def render_jobs(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Content:
        return render(jobs)

    return render_jobs


def reports_for_programs(render: RenderReportsForProgram) -> Render:
    """For a format that is always the same, and needs the reports of all jobs."""

    def render_reports(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> Content:
        return render([whole_report(job) for job in jobs])

    return render_reports
