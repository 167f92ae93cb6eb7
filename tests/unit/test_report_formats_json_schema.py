"""The published schema: generated from the types, describes every key, accepts reports and rejects everything else."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fakerun.report import Report
from fakerun.report.formats.json import as_document, render
from fakerun.report.formats.json_document import DOCUMENTS
from fakerun.report.formats.json_schema import schema_text
from tests.unit.test_report_formats_json import small
from tests.unit.test_report_formats_text import PAGES, traced

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "report.schema.json"
SCHEMA = json.loads(PUBLISHED.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
REPORTS: dict[str, Callable[[], Report]] = {**PAGES, "small": small, "traced": traced}
MAPPINGS = {"mesh", "coordinate", "hardware_overrides"}
"""Objects whose keys are the user's."""


def test_the_published_schema_is_not_stale() -> None:
    assert json.loads(schema_text()) == SCHEMA, "python -m fakerun.report.formats.json_schema > docs/schema/report.schema.json"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_kind_of_object_is_in_it() -> None:
    assert {*SCHEMA["$defs"], "ReportDocument"} == {document.__name__ for document in DOCUMENTS}


def test_every_key_is_described() -> None:
    for schema in (SCHEMA, *SCHEMA["$defs"].values()):
        assert schema["description"]
        assert schema["additionalProperties"] is False
        assert not [key for key, described in schema["properties"].items() if not ({"description", "$ref"} & described.keys())]
        assert set(schema["required"]) == set(schema["properties"])


def test_every_number_of_bytes_is_described_as_bytes() -> None:
    for schema in (SCHEMA, *SCHEMA["$defs"].values()):
        for key, described in schema["properties"].items():
            if key.endswith("bytes") and not key.startswith("headroom"):
                assert "bytes" in described["description"].lower(), key


@pytest.mark.parametrize("name", REPORTS)
def test_reports_conform_to_the_schema(name: str) -> None:
    VALIDATOR.validate(json.loads(render(REPORTS[name]())))


def objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of the objects in a document whose keys are ours."""
    if isinstance(value, dict) and not (path and path[-1] in MAPPINGS):
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(item, (*path, key))


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def test_a_key_that_is_not_in_it_is_refused_everywhere() -> None:
    document = as_document(small())
    paths = list(objects(document))
    assert len(paths) > 20
    for path in paths:
        changed = deepcopy(document)
        at(changed, path)["surprise"] = 1
        assert not VALIDATOR.is_valid(changed), path


def test_a_key_that_is_missing_is_refused_everywhere() -> None:
    document = as_document(small())
    for path in objects(document):
        for key in at(document, path):
            changed = deepcopy(document)
            del at(changed, path)[key]
            assert not VALIDATOR.is_valid(changed), (*path, key)


def test_keys_come_in_the_order_of_the_types() -> None:
    orders = {tuple(document.__annotations__) for document in DOCUMENTS}
    document = as_document(small())
    for path in objects(document):
        assert tuple(at(document, path)) in orders, path
