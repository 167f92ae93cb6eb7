"""The JSON of a comparison: its published schema is generated, accepts comparisons, and refuses anything else."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fakerun.records.run import RankRecord
from fakerun.report import Report, build_report
from fakerun.report.build_comparison import build_comparison, compared_job
from fakerun.report.formats.comparison import comparison_document, render_json
from fakerun.report.formats.comparison_document import COMPARISON_DOCUMENTS
from fakerun.report.formats.json_schema import comparison_schema_text
from tests.unit.records_by_hand import llama_8b_job, llama_8b_rank, run

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "comparison.schema.json"
SCHEMA = json.loads(PUBLISHED.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
LLAMA = build_report(llama_8b_job(), run(llama_8b_rank()))
NOTHING = build_report(llama_8b_job(), run(RankRecord(rank=0)))


def compared(old: Report, new: Report) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_json(build_comparison(compared_job("old", old), compared_job("new", new))))
    return document


def test_the_published_schema_is_not_stale() -> None:
    command = "python -m fakerun.report.formats.json_schema comparison > docs/schema/comparison.schema.json"
    assert json.loads(comparison_schema_text()) == SCHEMA, command


def test_it_is_a_schema_with_every_kind_of_object() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert {*SCHEMA["$defs"], "ComparisonDocument"} == {document.__name__ for document in COMPARISON_DOCUMENTS}


def test_every_key_is_described_and_there_is_no_other() -> None:
    for schema in (SCHEMA, *SCHEMA["$defs"].values()):
        assert schema["description"]
        assert schema["additionalProperties"] is False
        assert not [key for key, described in schema["properties"].items() if not ({"description", "$ref"} & described.keys())]
        assert set(schema["required"]) == set(schema["properties"])


@pytest.mark.parametrize(("old", "new"), [(LLAMA, LLAMA), (LLAMA, NOTHING), (NOTHING, LLAMA)], ids=["equal", "less", "more"])
def test_comparisons_conform_to_it(old: Report, new: Report) -> None:
    document = compared(old, new)
    VALIDATOR.validate(document)
    assert document["exit_code"] == (1 if document["differences"] else 0) == int(old is not new)


def test_keys_that_are_missing_or_unknown_are_refused() -> None:
    document = compared(NOTHING, LLAMA)
    assert document["differences"]
    for path in ((), ("old",), ("differences", 0)):
        for key in list(at(document, path)):
            changed = deepcopy(document)
            del at(changed, path)[key]
            assert not VALIDATOR.is_valid(changed), (*path, key)
        changed = deepcopy(document)
        at(changed, path)["surprise"] = 1
        assert not VALIDATOR.is_valid(changed), path


def test_keys_come_in_the_order_of_the_types() -> None:
    document = comparison_document(build_comparison(compared_job("old", NOTHING), compared_job("new", LLAMA)))
    orders = {tuple(each.__annotations__) for each in COMPARISON_DOCUMENTS}
    assert {tuple(document), tuple(document["old"]), tuple(document["differences"][0])} <= orders


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document
