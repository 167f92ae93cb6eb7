"""The published JSON Schemas of the report and of a comparison, made of the types and docstrings in their documents:

python -m fakerun.report.formats.json_schema > docs/schema/report.schema.json
python -m fakerun.report.formats.json_schema comparison > docs/schema/comparison.schema.json
"""

import json
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from fakerun.report.formats.comparison_document import COMPARISON_DOCUMENTS, ComparisonDocument
from fakerun.report.formats.json_document import DOCUMENTS, SCHEMA_VERSION, ReportDocument


def schema_text() -> str:
    """The JSON Schema of the report, as published."""
    return _schema_text("report", ReportDocument, DOCUMENTS)


def comparison_schema_text() -> str:
    """The JSON Schema of a comparison, as published."""
    return _schema_text("comparison", ComparisonDocument, COMPARISON_DOCUMENTS)


def _schema_text(name: str, whole: Any, documents: Iterable[Any]) -> str:
    """Unknown keys are refused: a new key is added to the types first."""
    from pydantic import ConfigDict, TypeAdapter

    for document in documents:
        setattr(document, "__pydantic_config__", ConfigDict(extra="forbid", use_attribute_docstrings=True))  # noqa: B010  # no attribute to mypy
    described = _without_titles(TypeAdapter(whole).json_schema())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fakerun:{name}:{SCHEMA_VERSION}",
        "title": f"fakerun {name}",
        "$comment": "Within a schema version keys are only added; none is removed, and none changes its meaning or its unit.",
    }
    return json.dumps({**head, **described}, indent=2) + "\n"


def _without_titles(schema: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(schema, dict):
        return {key: _without_titles(item) for key, item in schema.items() if not (key == "title" and isinstance(item, str))}
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema


SCHEMAS: Mapping[str, Any] = MappingProxyType({"report": schema_text, "comparison": comparison_schema_text})
"""By name, each as text."""

if __name__ == "__main__":
    sys.stdout.write(SCHEMAS[(sys.argv[1:] or ["report"])[0]]())
