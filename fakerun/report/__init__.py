"""From a Report to text: the renderers by name. Importing this room is cheap; what costs is imported when a renderer runs."""

from collections.abc import Mapping
from types import MappingProxyType

from fakerun.report import json_report, table
from fakerun.report.model import Report, build_report
from fakerun.report.renderer import Renderer

RENDERERS: Mapping[str, Renderer] = MappingProxyType(
    {
        renderer.name: renderer
        for renderer in (
            Renderer(name="table", extension="txt", is_binary=False, render=table.render),
            Renderer(name="json", extension="json", is_binary=False, render=json_report.render),
        )
    }
)
"""The formats of `--format`, the default first."""

__all__ = ["RENDERERS", "Renderer", "Report", "build_report"]
