"""GitLab's code quality report, held against the format that GitLab documents."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fakerun.report import JobReport
from fakerun.report.formats.gitlab import render
from tests.unit.jobs_by_hand import findings, job_report, several_jobs, skipped
from tests.unit.records_by_hand import job
from tests.unit.test_report_formats_text import nothing_happened

GOLDEN = Path(__file__).parent / "golden"

DOCUMENTED = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "minLength": 1, "not": {"pattern": "^\\.?/"}},
                    "lines": {"type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}},
                },
            },
        },
    },
}
"""The table of GitLab Docs, "Code Quality report format": a path has no leading `./`; of equal fingerprints GitLab shows one.

GitLab's own schema (`app/validators/json_schemas/codeclimate.json` of gitlabhq, 33827e3) asks for less of an issue: a description, a
fingerprint, a severity and a location, of these types.
"""


def issues(jobs: tuple[JobReport, ...]) -> list[dict[str, Any]]:
    text = render(jobs)
    read: list[dict[str, Any]] = json.loads(text)
    Draft202012Validator(DOCUMENTED).validate(read)
    assert not text.startswith("\ufeff")
    assert len({each["fingerprint"] for each in read}) == len(read)
    return read


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.gitlab.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "jobs",
    [
        several_jobs(),
        (job_report(),),
        (JobReport(name="a", report=nothing_happened()),),
        (JobReport(name="a", report=job_report(*findings()).report),),
    ],
    ids=["several", "no finding", "no place", "no file of the repository"],
)
def test_it_is_as_documented(jobs: tuple[JobReport, ...]) -> None:
    issues(jobs)


def test_an_issue_is_a_diagnostic() -> None:
    first = issues((job_report(*findings()),))[0]
    assert first["description"] == f"{skipped().message} Let every rank make the same calls."
    assert (first["check_name"], first["severity"]) == ("missing-collective", "critical")
    assert first["location"] == {"path": "training/models/net.py", "lines": {"begin": 18}}


def test_severities_keep_their_order() -> None:
    assert [each["severity"] for each in issues((job_report(*findings()),))] == ["critical", "critical", "minor", "info"]


def test_what_has_no_place_is_at_the_program() -> None:
    (only,) = issues((JobReport(name="a", report=nothing_happened()),))
    assert only["location"] == {"path": job().program, "lines": {"begin": 1}}
