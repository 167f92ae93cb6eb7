"""The formats by name. Each writes down what is in a result, or in the page made of it; none computes anything."""

from collections.abc import Mapping
from types import MappingProxyType

from fakerun.report.formats import csv, github, gitlab, json, jsonl, junit, markdown, memory_snapshot, sarif, svg, text, trace
from fakerun.report.formats.report_format import (
    RenderForProgram,
    RenderReportsForProgram,
    ReportFormat,
    files_of_one,
    for_programs,
    of_one,
    of_reports,
    reports_for_programs,
)
from fakerun.report.formats.svg import step

_SEVERAL = 2


def _of_results(name: str, extension: str, render: RenderForProgram) -> ReportFormat:
    return ReportFormat(
        name=name, extension=extension, is_binary=False, takes_several_jobs=True, render=for_programs(render), results_from=1
    )


def _of_reports(name: str, extension: str, render: RenderReportsForProgram) -> ReportFormat:
    return ReportFormat(name=name, extension=extension, is_binary=False, takes_several_jobs=True, render=reports_for_programs(render))


FORMATS: Mapping[str, ReportFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            ReportFormat(
                name="table", extension="txt", is_binary=False, takes_several_jobs=True, render=text.render_jobs, results_from=_SEVERAL
            ),
            ReportFormat(name="json", extension="json", is_binary=False, takes_several_jobs=False, render=of_one(json.render)),
            ReportFormat(
                name="markdown", extension="md", is_binary=False, takes_several_jobs=True, render=of_reports(markdown.render_summary)
            ),
            ReportFormat(
                name="comment",
                extension="md",
                is_binary=False,
                takes_several_jobs=True,
                render=markdown.render_comment,
                results_from=_SEVERAL,
            ),
            _of_results("junit", "xml", junit.render),
            _of_results("sarif", "sarif", sarif.render),
            _of_results("github", "txt", github.render),
            _of_results("gitlab", "json", gitlab.render),
            _of_reports("csv", "csv", csv.render),
            _of_reports("jsonl", "jsonl", jsonl.render),
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
            ReportFormat(
                name="trace",
                extension="json",
                is_binary=False,
                takes_several_jobs=False,
                render=of_one(trace.render),
                needs_timeline=True,
                render_files=files_of_one(trace.render_ranks),
            ),
            ReportFormat(
                name="timeline",
                extension="svg",
                is_binary=False,
                takes_several_jobs=False,
                render=of_one(step.render),
                needs_timeline=True,
            ),
        )
    }
)
"""The formats of `--format`, the default first."""
