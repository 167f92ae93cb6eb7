"""The report as Markdown, compared with pages in `golden/`, and text that GitHub would read as markup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import JobReport, build_report
from fakerun.report.formats.markdown import (
    MOST_BYTES_OF_A_COMMENT,
    MOST_BYTES_OF_A_SUMMARY,
    render,
    render_comment,
    render_summary,
)
from fakerun.report.page.detail import Detail
from tests.unit.jobs_by_hand import HOSTILE
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


# Markers and limits


def marked(name: str) -> str:
    return render_summary([JobReport(name=name, report=PAGES["nothing_happened"]())]).splitlines()[0]


def test_a_page_for_a_step_or_a_comment_begins_with_the_marker_of_its_job() -> None:
    jobs = [JobReport(name=name, report=page()) for name, page in PAGES.items()]
    assert render_summary(jobs) == "\n".join(f"<!-- fakerun:{each.name} -->\n\n{render(each.report)}" for each in jobs)
    assert render_comment(jobs) == render_summary(jobs)


@pytest.mark.parametrize("name", ["a --> b", "--", "<!--", "a\nb", HOSTILE])
def test_no_name_ends_the_marker(name: str) -> None:
    assert re.fullmatch(r"<!-- fakerun:((?!--|[<>]).)* -->", marked(name))


def long_report(findings: int, calls: int, args: tuple[str, ...] = ()) -> JobReport:
    found = tuple(
        Finding(code=FindingCode.UNKNOWN_VALUE, message=f"number {at} " + "\N{GREEK SMALL LETTER ALPHA}" * 100) for at in range(findings)
    )
    record = RankRecord(rank=0, devices=(0,), collectives=in_order(collective(call_site=f"t.py:{at}") for at in range(calls)))
    return JobReport(name="long", report=build_report(job(args=args), run(replace(record, findings=found))))


@pytest.mark.parametrize("findings", [0, 1, 400, 1000])
@pytest.mark.parametrize("calls", [1, 10_000])
@pytest.mark.parametrize("args", [(), ("x" * 70_000,)], ids=["short", "long title"])
def test_a_comment_is_never_too_long(findings: int, calls: int, args: tuple[str, ...]) -> None:
    page = render_comment([long_report(findings, calls, args)], detail=Detail(trace=True))
    assert len(page.encode()) <= MOST_BYTES_OF_A_COMMENT == 65_536
    assert page.startswith("<!-- fakerun:long -->\n")
    assert page.endswith("\n")
    is_cut = findings > 1 or calls > 1 or bool(args)
    assert ("*Cut to the 65,536 bytes that GitHub takes as a comment." in page.splitlines()[-1]) is is_cut


def test_what_needs_attention_stays_and_what_is_long_goes() -> None:
    page = render_comment([long_report(3, 10_000)], detail=Detail(trace=True))
    assert [f"number {at}" in page for at in range(3)] == [True] * 3
    assert "Every collective call" not in page
    assert "## Collectives" in page or "## Memory" in page


def test_findings_that_do_not_all_fit_are_cut_between_two_of_them() -> None:
    page = render_comment([long_report(1000, 1)])
    shown = [at for at in range(1000) if f"number {at} " in page]
    assert shown == list(range(len(shown)))
    assert 200 < len(shown) < 1000


def test_a_summary_has_room_for_more() -> None:
    page = render_summary([long_report(1000, 1)])
    assert MOST_BYTES_OF_A_COMMENT < len(page.encode()) < MOST_BYTES_OF_A_SUMMARY == 1024**2
    assert "number 999 " in page
    assert "*Cut to" not in page
