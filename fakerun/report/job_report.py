"""JobResult and JobReport: a result, or the whole report, under the name of its job, with the places in the repository of its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fakerun.report.model import Report
from fakerun.report.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The result of one job, of those that a command ran.

    `paths` leads from a file as a call site shows it, and from the program, to its path in the repository, with slashes; it lacks files
    that are outside the repository or not there. It is what annotations of a pull request need.
    """

    name: str
    report: Result
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport(JobResult):
    """A `JobResult` whose result is a report, with the records of the ranks."""

    report: Report


def whole_report(job: JobResult) -> JobReport:
    """The job with its report, for a format that needs it.

    Raises:
        ValueError: only its result is there.
    """
    if not isinstance(job, JobReport):
        raise ValueError(f"of job {job.name} only the result is there; build its report")
    return job
