"""The schema of job files: as published, of draft 7, with every key; it accepts what is right, and refuses what is shaped wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from fakerun.job.check_file import load_jobs
from fakerun.job.file_schema import job_file_schema
from fakerun.job.yaml_job import JobFile, JobOfSeveral
from tests.unit.test_job_check_file import ALL, BROKEN, MATRIX

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "docs" / "schema" / "fakerun.schema.json"
SCHEMA = json.loads(PUBLISHED.read_text(encoding="utf-8"))
VALIDATOR = Draft7Validator(SCHEMA)

SHAPED_WRONGLY = [
    *("no jobs", "another version", "version that is true", "jobs in a list", "no job", "unknown key at the top", "job as text"),
    *("a job's key at the top", "name with a blank", "name of a path", "defaults in a list", "unknown key in a job", "default hardware"),
    *("wrong default that no job has", "timeout of zero", "timeout in words", "strict in words", "ignored code", "workdir as a number"),
    *(
        "hardware without a base",
        "empty matrix",
        "unknown key of a matrix",
        "matrix of a matrix",
        "matrix of a scalar",
        "matrix of no value",
    ),
    *("wrong value of a matrix", "wrong variable of a matrix", "exclusion that is no list", "exclusion of nothing"),
]


def test_the_published_schema_is_not_stale() -> None:
    assert json.loads(job_file_schema()) == SCHEMA, "fakerun schema > docs/schema/fakerun.schema.json"


def test_it_is_a_schema_as_schemastore_takes_it() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert (SCHEMA["$schema"], SCHEMA["$id"]) == ("http://json-schema.org/draft-07/schema#", "https://json.schemastore.org/fakerun.json")


def test_it_has_every_key_and_describes_it() -> None:
    single, job = (SCHEMA["definitions"][name]["properties"] for name in ("single", "job"))
    assert (set(single), set(job)) == (set(JobFile.model_fields), set(JobOfSeveral.model_fields))
    assert all(key["description"] for key in single.values())
    assert set(job["matrix"]["properties"]) == {*JobFile.model_fields, "exclude"}


def errors(document: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


@pytest.mark.parametrize("text", [ALL, MATRIX, *(path.read_text() for path in sorted((REPOSITORY / "configs").glob("*.yaml")))])
def test_it_accepts_what_is_right(text: str) -> None:
    assert not errors(yaml.safe_load(text))


def test_the_jobs_of_this_repository_name_every_program_of_configs() -> None:
    checked = REPOSITORY / "configs" / "fakerun.yaml"
    jobs = {job.request.script for job in load_jobs(checked)}
    programs = {job.request.script for path in (REPOSITORY / "configs").glob("*.yaml") if path != checked for job in load_jobs(path)}
    assert jobs == programs


@pytest.mark.parametrize("name", SHAPED_WRONGLY)
def test_it_refuses_what_is_shaped_wrongly(name: str) -> None:
    assert errors(yaml.safe_load(BROKEN[name][0]))
