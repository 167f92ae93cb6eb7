"""A code quality report of GitLab, which shows it in the merge request: `artifacts: reports: codequality: FILE`.

Source: GitLab Docs, "Code Quality report format": a subset of Code Climate's, one JSON array.
"""

import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from fakerun.records.finding_code import Severity
from fakerun.report.diagnostics import Diagnostic, diagnostics_of
from fakerun.report.job_report import JobResult

_SEVERITIES = MappingProxyType({Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"})


def render(jobs: Sequence[JobResult], /) -> str:
    """Every diagnostic, one a line."""
    lines = [json.dumps(_issue(each, jobs)) for each in diagnostics_of(jobs)]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def _issue(diagnostic: Diagnostic, jobs: Sequence[JobResult]) -> dict[str, Any]:
    """GitLab needs a path and a line of everything: the program and 1 where there is none."""
    place = diagnostic.place
    return {
        "description": " ".join(diagnostic.sentences(of_jobs=len(jobs) > 1)),
        "check_name": diagnostic.rule.id,
        "fingerprint": diagnostic.fingerprint,
        "severity": _SEVERITIES[diagnostic.level],
        "location": {
            "path": jobs[0].report.job.program if place is None else place.path,
            "lines": {"begin": 1 if place is None else place.line or 1},
        },
    }
