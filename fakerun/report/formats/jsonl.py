"""JSON Lines: one object a line, for logs and databases. `kind` says what it is; keys are only added.

A job comes first, then what it was held against, what was found, and how its ranks ended. Every line names its job.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from typing_extensions import TypedDict

from fakerun.report.formats.json import (
    blocked_document,
    check_document,
    failure_document,
    finding_document,
    job_document,
    step_time_document,
)
from fakerun.report.formats.json_document import (
    BlockedDocument,
    CheckDocument,
    FailureDocument,
    FindingDocument,
    JobDocument,
    StepTimeDocument,
)
from fakerun.report.job_report import JobReport
from fakerun.report.model import NoEstimate
from fakerun.report.page.summary import summary


class JobLine(TypedDict):
    """A job as a whole. Memory is that of the rank with the least headroom; null where no rank was simulated."""

    kind: Literal["job"]
    job: str
    fakerun_version: str
    torch_version: str | None
    spec: JobDocument
    exit_code: int
    verdict: str
    summary: str
    simulated_ranks: int
    peak_reserved_bytes: int | None
    peak_allocated_bytes: int | None
    usable_bytes: int | None
    headroom_bytes: int | None
    step_time: StepTimeDocument | None


class CheckLine(TypedDict):
    """One limit that the job was held against, kept or not."""

    kind: Literal["check"]
    job: str
    check: CheckDocument


class FindingLine(TypedDict):
    """One finding, of any severity. `path` is the file in the repository; null where the finding has none there."""

    kind: Literal["finding"]
    job: str
    path: str | None
    finding: FindingDocument


class FailureLine(TypedDict):
    """Ranks that failed alike, after so many steps."""

    kind: Literal["failure"]
    job: str
    path: str | None
    ranks: list[int]
    steps: int
    failure: FailureDocument


class BlockedLine(TypedDict):
    """A rank that waits for ever."""

    kind: Literal["blocked"]
    job: str
    rank: int
    blocked: BlockedDocument


Line: TypeAlias = JobLine | CheckLine | FindingLine | FailureLine | BlockedLine

LINES = (JobLine, CheckLine, FindingLine, FailureLine, BlockedLine)
"""Every kind of line, in order."""


def render(jobs: Sequence[JobReport], /) -> str:
    """The lines of the jobs, one job after the other."""
    return "".join(f"{json.dumps(line)}\n" for job in jobs for line in lines_of(job))


def lines_of(job: JobReport) -> Iterator[Line]:
    """The lines of one job, as plain Python data."""
    report = job.report
    yield _job(job)
    for check in report.checks:
        yield {"kind": "check", "job": job.name, "check": check_document(check)}
    for finding in report.findings:
        path = None if finding.call_site is None else job.paths.get(finding.call_site.path)
        yield {"kind": "finding", "job": job.name, "path": path, "finding": finding_document(finding)}
    for each in report.failures:
        site = each.failure.call_site
        yield {
            "kind": "failure",
            "job": job.name,
            "path": None if site is None else job.paths.get(site.path),
            "ranks": list(each.ranks),
            "steps": each.steps,
            "failure": failure_document(each.failure),
        }
    for rank in report.ranks:
        if rank.record.blocked is not None:
            yield {"kind": "blocked", "job": job.name, "rank": rank.record.rank, "blocked": blocked_document(rank.record.blocked)}


def _job(job: JobReport) -> JobLine:
    report = job.report
    result, largest = summary(report), report.largest
    device = None if largest is None else largest.largest_device
    return {
        "kind": "job",
        "job": job.name,
        "fakerun_version": report.fakerun_version,
        "torch_version": report.torch_version,
        "spec": job_document(report),
        "exit_code": int(report.exit_code),
        "verdict": result.verdict,
        "summary": result.text,
        "simulated_ranks": len(report.ranks),
        "peak_reserved_bytes": None if device is None else device.reserved.peak_bytes,
        "peak_allocated_bytes": None if device is None else device.footprint.peak_bytes,
        "usable_bytes": None if device is None else device.fit.usable_bytes,
        "headroom_bytes": None if largest is None else largest.headroom_bytes,
        "step_time": None if isinstance(report.step_time, NoEstimate) else step_time_document(report.step_time),
    }
