"""JSON Lines: every line is an object of a documented kind, by types that refuse other keys."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fakerun.records.run import Blocked, RankRecord
from fakerun.report import JobReport, build_report
from fakerun.report.formats.json import as_document
from fakerun.report.formats.json_document import DOCUMENTS
from fakerun.report.formats.jsonl import LINES, Line, lines_of, render
from tests.unit.jobs_by_hand import checked_job, findings, job_report, several_jobs
from tests.unit.records_by_hand import job, run, site

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


def documented() -> "TypeAdapter[Line]":
    for document in (*DOCUMENTS, *LINES):
        setattr(document, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010  # no attribute to mypy
    return TypeAdapter(Line)


def lines(*jobs: JobReport) -> list[dict[str, Any]]:
    text = render(jobs)
    assert text.isascii()
    read = [json.loads(line) for line in text.splitlines()]
    adapter = documented()
    for line in read:
        adapter.validate_python(line)
    return read


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.jsonl").read_text(encoding="utf-8")


def test_each_line_names_its_kind_and_its_job() -> None:
    found = lines(*several_jobs())
    assert Counter((line["job"], line["kind"]) for line in found if line["job"] in ("dense", "fine", "failing", "checked")) == {
        ("dense", "job"): 1,
        ("dense", "finding"): 4,
        ("dense", "check"): 1,
        ("fine", "job"): 1,
        ("checked", "job"): 1,
        ("checked", "check"): 4,
        ("checked", "finding"): 3,
        ("failing", "job"): 1,
        ("failing", "check"): 1,
        ("failing", "finding"): 1,
        ("failing", "failure"): 2,
    }


def test_a_blocked_rank_is_a_line() -> None:
    record = RankRecord(rank=3, blocked=Blocked(call=None, key="go", waits_for=(), call_site=site("train.py:9")))
    found = lines(JobReport(name="a", report=build_report(job(), run(record))))
    assert [line["rank"] for line in found if line["kind"] == "blocked"] == [3]


def test_its_parts_are_those_of_the_json_report() -> None:
    one = job_report(*findings())
    document = as_document(one.report)
    found = lines(one)
    assert [line["check"] for line in lines(checked_job()) if line["kind"] == "check"] == as_document(checked_job().report)["checks"]
    assert found[0]["spec"] == document["job"]
    assert [line["finding"] for line in found if line["kind"] == "finding"] == document["findings"]


def test_a_path_is_that_of_the_repository() -> None:
    paths = [line["path"] for line in lines(job_report(*findings())) if line["kind"] == "finding"]
    assert paths == ["training/models/net.py", None, "training/a:b, c%20.py", None]


def test_an_undocumented_key_is_refused() -> None:
    line = dict(next(lines_of(job_report())))
    with pytest.raises(ValidationError, match="surprise"):
        documented().validate_python({**line, "surprise": 1})


def test_every_kind_and_key_is_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for line in LINES:
        assert not [key for key in line.__annotations__ if f"`{key}`" not in text]
