"""The formats by name. Each writes down what is in a result, or in the page made of it; none computes anything."""

from collections.abc import Mapping
from types import MappingProxyType

from fakerun.report.formats import json, markdown, memory_snapshot, svg, text
from fakerun.report.formats.report_format import ReportFormat
from fakerun.report.model import Comparison, Report

FORMATS: Mapping[str, ReportFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            ReportFormat(name="table", extension="txt", is_binary=False, takes=(Report, Comparison), render=text.render),
            ReportFormat(name="json", extension="json", is_binary=False, takes=(Report, Comparison), render=json.render),
            ReportFormat(name="markdown", extension="md", is_binary=False, takes=(Report, Comparison), render=markdown.render),
            ReportFormat(name="svg", extension="svg", is_binary=False, takes=(Report,), render=svg.render, needs_history=True),
            ReportFormat(
                name="memory_snapshot",
                extension="pickle",
                is_binary=True,
                takes=(Report,),
                render=memory_snapshot.render,
                needs_history=True,
            ),
        )
    }
)
"""The formats of `--format`, the default first."""
