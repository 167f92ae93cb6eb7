"""The published JSON Schema of the report, made of the types and docstrings in `json_document`:

python -m fakerun.report.formats.json_schema > docs/schema/report.schema.json
"""

import json
import sys
from typing import Any

from fakerun.report.formats.json_document import DOCUMENTS, SCHEMA_VERSION, ReportDocument


def schema_text() -> str:
    """The JSON Schema of the report, as published. Unknown keys are refused: a new key is added to the types above first."""
    from pydantic import ConfigDict, TypeAdapter

    for document in DOCUMENTS:
        setattr(document, "__pydantic_config__", ConfigDict(extra="forbid", use_attribute_docstrings=True))  # noqa: B010  # no attribute to mypy
    described = _without_titles(TypeAdapter(ReportDocument).json_schema())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fakerun:report:{SCHEMA_VERSION}",
        "title": "fakerun report",
        "$comment": "Within a schema version keys are only added; none is removed, and none changes its meaning or its unit.",
    }
    return json.dumps({**head, **described}, indent=2) + "\n"


def _without_titles(schema: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(schema, dict):
        return {key: _without_titles(item) for key, item in schema.items() if not (key == "title" and isinstance(item, str))}
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    sys.stdout.write(schema_text())
