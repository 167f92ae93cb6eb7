"""The formats by name. Each writes down what is in a result, or in the page made of it; none computes anything."""

from collections.abc import Mapping
from types import MappingProxyType

from fakerun.report.formats import csv, github, gitlab, json, jsonl, junit, markdown, memory_snapshot, sarif, svg, text
from fakerun.report.formats.report_format import RenderForProgram, ReportFormat, for_programs, of_one


def _for_programs(name: str, extension: str, render: RenderForProgram) -> ReportFormat:
    return ReportFormat(name=name, extension=extension, is_binary=False, takes_several_jobs=True, render=for_programs(render))


FORMATS: Mapping[str, ReportFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            ReportFormat(name="table", extension="txt", is_binary=False, takes_several_jobs=False, render=of_one(text.render)),
            ReportFormat(name="json", extension="json", is_binary=False, takes_several_jobs=False, render=of_one(json.render)),
            ReportFormat(name="markdown", extension="md", is_binary=False, takes_several_jobs=True, render=markdown.render_summary),
            ReportFormat(name="comment", extension="md", is_binary=False, takes_several_jobs=True, render=markdown.render_comment),
            _for_programs("junit", "xml", junit.render),
            _for_programs("sarif", "sarif", sarif.render),
            _for_programs("github", "txt", github.render),
            _for_programs("gitlab", "json", gitlab.render),
            _for_programs("csv", "csv", csv.render),
            _for_programs("jsonl", "jsonl", jsonl.render),
            ReportFormat(
                name="svg", extension="svg", is_binary=False, takes_several_jobs=False, render=of_one(svg.render), needs_history=True
            ),
            ReportFormat(
                name="memory_snapshot",
                extension="pickle",
                is_binary=True,
                takes_several_jobs=False,
                render=of_one(memory_snapshot.render),
                needs_history=True,
            ),
        )
    }
)
"""The formats of `--format`, the default first."""
