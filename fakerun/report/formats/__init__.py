"""The formats by name. Each writes down what is in a result, or in the page made of it; none computes anything."""

from collections.abc import Mapping
from types import MappingProxyType

from fakerun.report.formats import json, markdown, text
from fakerun.report.formats.report_format import ReportFormat
from fakerun.report.model import Report

FORMATS: Mapping[str, ReportFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            ReportFormat(name="table", extension="txt", is_binary=False, takes=(Report,), render=text.render),
            ReportFormat(name="json", extension="json", is_binary=False, takes=(Report,), render=json.render),
            ReportFormat(name="markdown", extension="md", is_binary=False, takes=(Report,), render=markdown.render),
        )
    }
)
"""The formats of `--format`, the default first."""
