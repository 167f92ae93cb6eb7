"""The formats of a comparison: the page as a table or Markdown, and JSON."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from fakerun.call_site import CallSite
from fakerun.report.formats import markdown, text
from fakerun.report.formats.comparison_document import ComparedJobDocument, ComparisonDocument, DifferenceDocument
from fakerun.report.formats.json import document_text
from fakerun.report.formats.json_document import SCHEMA_VERSION, CallSiteDocument
from fakerun.report.model import ComparedJob, Comparison, Difference


class RenderComparison(Protocol):
    """The same comparison always gives the same text; `color` and `width` as of `Render`."""

    def __call__(self, comparison: Comparison, /, *, color: bool = False, width: int | None = None) -> str: ...


def render_json(comparison: Comparison, /, *, color: bool = False, width: int | None = None) -> str:
    """The JSON document, one difference and one figure a line."""
    return document_text(comparison_document(comparison))


def comparison_document(comparison: Comparison) -> ComparisonDocument:
    """The JSON document of a comparison as plain Python data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "old": _compared_job(comparison.old),
        "new": _compared_job(comparison.new),
        "changed_facts": [{"label": fact.label, "old": fact.old, "new": fact.new} for fact in comparison.facts],
        "differences": [_difference(difference) for difference in comparison.differences],
        "figures": [
            {
                "ranks": figure.ranks,
                "what": figure.what,
                "unit": figure.unit,
                "old": figure.old,
                "new": figure.new,
                "tolerance": figure.tolerance,
                "is_within": figure.is_within,
            }
            for figure in comparison.figures
        ],
        "exit_code": int(comparison.exit_code),
    }


def _compared_job(side: ComparedJob) -> ComparedJobDocument:
    job = side.baseline.job
    return {
        "name": side.name,
        "program": job.program,
        "ranks": job.ranks,
        "mesh": job.mesh,
        "hardware": job.hardware,
        "steps": job.steps,
        "made_with": job.made_with,
    }


def _difference(difference: Difference) -> DifferenceDocument:
    return {
        "kind": difference.kind.value,
        "what": difference.what,
        "cause": difference.cause,
        "classes": list(difference.classes),
        "message": difference.message,
        "call_site": None if difference.call_site is None else _site(difference.call_site),
    }


def _site(site: CallSite) -> CallSiteDocument:
    return {"path": site.path, "line": site.line, "function": site.function}


COMPARISON_FORMATS: Mapping[str, RenderComparison] = MappingProxyType(
    {"table": text.render, "markdown": markdown.render, "json": render_json}
)
"""By name, the default first."""

EXTENSIONS: Mapping[str, str] = MappingProxyType({".txt": "table", ".md": "markdown", ".json": "json"})
"""Names of formats by how their files end."""
