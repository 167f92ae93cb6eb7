"""The report as Markdown, compared with pages in `golden/`, and text that GitHub would read as markup."""

import re
from pathlib import Path

import pytest

from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import build_report
from fakerun.report.formats.markdown import render
from fakerun.report.page.detail import Detail
from tests.unit.records_by_hand import collective, in_order, job, run, site
from tests.unit.test_report_formats_text import PAGES, traced

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["too_large_for_its_accelerator", "four_ranks_of_which_three_fail"])
def test_page(name: str) -> None:
    assert render(PAGES[name]()) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


def table_rows(page: str) -> list[list[str]]:
    """Cells of each line of each table; a bar behind a backslash is none of a table."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", PAGES)
def test_every_row_has_a_cell_for_each_heading(name: str) -> None:
    page = render(PAGES[name]())
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({len(row) for row in table_rows(table)}) == 1
        assert set(table.splitlines()[1]) <= set("|- :")


def test_neither_width_nor_colour_changes_it() -> None:
    report = PAGES["too_large_for_its_accelerator"]()
    assert render(report, width=60, color=True) == render(report)


def test_nothing_is_clipped() -> None:
    place = f"{'directory/' * 20}train.py:9"
    calls = in_order([collective(call_site=place, module=f"{'layers.0.' * 20}w1")])
    page = render(build_report(job(), run(RankRecord(rank=0, devices=(0,), collectives=calls))), detail=Detail(trace=True))
    assert place in page
    assert f"{'layers.0.' * 20}w1" in page


def test_trace_adds_the_calls() -> None:
    assert render(traced(), detail=Detail(trace=True)).count("| broadcast |") == 1
    assert "| broadcast |" not in render(traced())


def test_what_markdown_would_read_as_markup_is_text() -> None:
    finding = Finding(
        code=FindingCode.UNKNOWN_VALUE, message="rank 2 skips collective #5 of <group> a|b *x* _y_ my_name", call_site=site("a_b.py:1")
    )
    page = render(build_report(job(args=("--filter", "a|b")), run(RankRecord(rank=0, findings=(finding,)))))
    assert "rank 2 skips collective #<!-- -->5 of \\<group> a\\|b \\*x\\* \\_y\\_ my_name" in page
    assert "at `a_b.py:1`" in page
    assert page.startswith("# fakerun 0.1.0  train.py --filter a\\|b\n")


def test_a_group_with_a_bar_in_its_name_stays_in_its_cell() -> None:
    calls = in_order([collective(CollectiveOp.ALL_REDUCE, group="a|b")])
    page = render(build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls))))
    assert len({len(row) for row in table_rows(page)}) == 1


def test_a_traceback_with_a_fence_in_it_stays_in_its_fence() -> None:
    failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="```", traceback="````\nValueError: ```")
    page = render(build_report(job(), run(RankRecord(rank=0, failure=failure))))
    assert page.endswith("`````text\n````\nValueError: ```\n`````\n")
