"""SARIF, read by models that are generated from OASIS's schema and refuse unknown keys, and held against what GitHub needs of it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from fakerun.records.finding_code import FindingCode
from fakerun.report import JobReport
from fakerun.report.formats.sarif import render
from tests.unit.jobs_by_hand import findings, job_report, several_jobs, skipped

GOLDEN = Path(__file__).parent / "golden"


def run_of(*jobs: JobReport) -> dict[str, Any]:
    text = render(jobs)
    Sarif.model_validate_json(text)
    (run,) = json.loads(text)["runs"]
    assert isinstance(run, dict)
    return run


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.sarif").read_text(encoding="utf-8")


@pytest.mark.parametrize("jobs", [several_jobs(), (job_report(),), (JobReport(name="a", report=job_report(*findings()).report),)])
def test_it_conforms_to_the_schema(jobs: tuple[JobReport, ...]) -> None:
    run_of(*jobs)


def test_the_schema_refuses_what_is_not_sarif() -> None:
    document = json.loads(render([job_report(*findings())]))
    document["runs"][0]["results"][0]["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        Sarif.model_validate_json(json.dumps(document))


def test_every_result_leads_to_its_rule() -> None:
    run = run_of(*several_jobs())
    rules = run["tool"]["driver"]["rules"]
    assert [rules[each["ruleIndex"]]["id"] for each in run["results"]] == [each["ruleId"] for each in run["results"]]
    assert len({rule["id"] for rule in rules}) == len(rules)
    rule = next(rule for rule in rules if rule["id"] == "does-not-fit")
    code = FindingCode.DOES_NOT_FIT
    assert (rule["shortDescription"]["text"], rule["fullDescription"]["text"]) == (code.title, code.meaning)
    assert code.way_out in rule["help"]["text"]
    assert "docs/findings.md#does-not-fit" in rule["help"]["text"]


def test_a_location_is_relative_to_the_root_of_the_repository() -> None:
    results = run_of(job_report(*findings()))["results"]
    location = results[0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {"uri": "training/models/net.py", "uriBaseId": "%SRCROOT%"}
    assert location["region"] == {"startLine": 18}
    assert results[0]["locations"][0]["logicalLocations"] == [{"name": "forward", "kind": "function"}]
    uri = results[2]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "training/a%3Ab%2C%20c%2520.py"
    assert unquote(uri) == "training/a:b, c%20.py"


def test_lines_of_other_ranks_are_related_locations() -> None:
    (related,) = run_of(job_report(skipped()))["results"][0]["relatedLocations"]
    assert related["physicalLocation"]["artifactLocation"]["uri"] == "training/train.py"
    assert related["physicalLocation"]["region"] == {"startLine": 44}
    assert (related["id"], related["message"]) == (1, {"text": "what other ranks call"})


def test_what_is_in_no_file_of_the_repository_has_no_location() -> None:
    assert [each["locations"] for each in run_of(JobReport(name="a", report=job_report(skipped()).report))["results"]] == [[]]


def test_levels() -> None:
    assert [each["level"] for each in run_of(job_report(*findings()))["results"]] == ["error", "error", "warning", "note"]


def test_fingerprints_are_unique_and_stay_when_lines_move() -> None:
    def fingerprints(*found: Any) -> list[str]:
        return [each["partialFingerprints"]["fakerun/v1"] for each in run_of(job_report(*found))["results"]]

    assert len(set(fingerprints(*findings(), skipped(19)))) == 5
    assert fingerprints(skipped(18)) == fingerprints(skipped(300))


def test_one_run_has_all_jobs() -> None:
    assert [each["properties"]["jobs"] for each in run_of(job_report(skipped(), name="a"), job_report(skipped(), name="b"))["results"]] == [
        ["a", "b"]
    ]
