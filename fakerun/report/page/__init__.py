"""From a Report to a Page: which sections there are, in which order, and how each is worded. Every number is formatted here, once.

Knows no format, no width and no colour: the formats write the same page as text, markdown and so on.
"""

from collections.abc import Iterator

from fakerun.report.model import Comparison, Report
from fakerun.report.page.blocks import Page, Section
from fakerun.report.page.calls import calls_section
from fakerun.report.page.checks import checks_section
from fakerun.report.page.collectives import collectives_section
from fakerun.report.page.comparison import comparison_page
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.failures import failures_section
from fakerun.report.page.findings import findings_section
from fakerun.report.page.header import header_facts, title
from fakerun.report.page.memory import memory_sections
from fakerun.report.page.printable_page import printable_page
from fakerun.report.page.ranks import ranks_section
from fakerun.report.page.summary import summary
from fakerun.report.page.time import time_sections

_TENSORS_SHOWN = 8


def page_of(result: Report | Comparison, detail: Detail = SHORT) -> Page:
    """The page about the rank with the least headroom, and a line for each class of ranks if there are several; or about a comparison.

    What needs attention comes last: that is what a terminal shows when the command has ended.
    """
    return printable_page(comparison_page(result) if isinstance(result, Comparison) else _report_page(result, detail))


def _report_page(report: Report, detail: Detail) -> Page:
    return Page(summary=summary(report), title=title(report), facts=header_facts(report), sections=tuple(_sections(report, detail)))


def _sections(report: Report, detail: Detail) -> Iterator[Section]:
    rank = report.largest
    if len(report.ranks) > 1:
        yield ranks_section(report)
    if rank is not None and not (rank.record.failure and not rank.record.collectives and rank.largest_device.footprint.peak_block is None):
        yield collectives_section(rank, nnodes=report.job.nnodes)
        yield from memory_sections(rank, report.job.hardware, tensors_shown=_TENSORS_SHOWN if detail.tensors is None else detail.tensors)
        yield from time_sections(report.step_time)
    if detail.trace:
        yield from (calls_section(each.example) for each in report.classes)
    if any(check.source for check in report.checks):
        yield checks_section(report)
    if report.findings:
        yield findings_section(report.grouped_findings, several_ranks=len(report.ranks) > 1)
    if report.failures or report.blocked:
        yield failures_section(report)
