"""The page: its sections and their order, that it is independent of formats, and the text for ranks and calls."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from fakerun.job.budgets import Budgets, CodeBudget
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import AssumedRanks, FailureKind, ProcessFailure, RankRecord
from fakerun.report import Report, build_report
from fakerun.report.page import page_of
from fakerun.report.page.blocks import Findings, Section, Table, Traceback
from fakerun.report.page.detail import Detail
from tests.unit.records_by_hand import GIB, block, collective, in_order, job, llama_8b_job, llama_8b_rank, program, run, site
from tests.unit.test_report_formats_text import PAGES, many_ranks

NO = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no", traceback="ValueError: no")


def section(report: Report, title: str, *, trace: bool = False) -> Section:
    sections = page_of(report, Detail(trace=trace)).sections
    (found,) = (each for each in sections if each.title == title or each.title.startswith(f"{title} collective"))
    return found


def table(report: Report, title: str, *, trace: bool = False) -> Table:
    (found,) = (part for part in section(report, title, trace=trace).blocks if isinstance(part, Table))
    return found


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from texts(getattr(value, field.name))


@pytest.mark.parametrize("name", PAGES)
def test_no_text_knows_a_terminal(name: str) -> None:
    found = list(texts(page_of(PAGES[name](), Detail(trace=True))))
    assert found
    assert not [text for text in found if "\x1b" in text or "\u00a0" in text or "\n" in text]


@pytest.mark.parametrize("name", PAGES)
def test_every_row_has_a_cell_for_each_column(name: str) -> None:
    for each in page_of(PAGES[name](), Detail(trace=True)).sections:
        for part in each.blocks:
            if isinstance(part, Table):
                assert {len(row.cells) for row in (*part.rows, *part.totals)} == {len(part.columns)}


def test_what_needs_attention_comes_last() -> None:
    titles = [each.title for each in page_of(PAGES["four_ranks_of_which_three_fail"](), Detail(trace=True)).sections]
    assert titles[:2] == ["Ranks", "Collectives of rank 0"]
    assert titles[-2:] == ["Findings", "Ranks that did not finish"]
    assert len([title for title in titles if title.startswith("Every collective call")]) == 3


def test_empty_sections_are_omitted() -> None:
    assert [each.title for each in page_of(build_report(job(), run(RankRecord(rank=0, failure=NO)))).sections] == [
        "Ranks that did not finish"
    ]


def test_ranks_that_are_assumed_are_never_plainly_ok() -> None:
    records = run(*(replace(llama_8b_rank(rank)) for rank in (0, 5)))
    report = build_report(llama_8b_job(), replace(records, assumed=(AssumedRanks(ranks=(1, 2, 3), representative=0),)))
    rows = table(report, "Ranks").rows
    assert [row.cells[3] for row in rows] == ["ok (3 assumed)"]
    remark = section(report, "Ranks").remark
    assert remark is not None
    assert remark.text.startswith("2 of 8 simulated, 3 assumed to match them; all that were simulated behave the same")


def test_ranks_that_are_assumed_to_fail_are_shown_as_such() -> None:
    report = build_report(
        job(), replace(run(RankRecord(rank=0), RankRecord(rank=1, failure=NO)), assumed=(AssumedRanks(ranks=(2, 3), representative=1),))
    )
    assert [row.cells[2] for row in table(report, "Ranks").rows] == ["ok", "FAILED (2 assumed)"]


def test_only_the_first_failure_has_its_traceback() -> None:
    report = build_report(job(), run(RankRecord(rank=0, failure=NO), RankRecord(rank=1, failure=replace(NO, message="other"))))
    blocks = section(report, "Ranks that did not finish").blocks
    assert [isinstance(block, Traceback) and block.lines for block in blocks] == [("ValueError: no",), ()]


def test_ranks_of_a_finding_are_omitted_if_one_rank_was_simulated() -> None:
    for page, expected in (("too_large_for_its_accelerator", {""}), ("four_ranks_of_which_three_fail", {"rank 0"})):
        (block,) = section(PAGES[page](), "Findings").blocks
        assert isinstance(block, Findings)
        assert {item.ranks for item in block.items} == expected


def test_classes_that_are_not_shown_are_counted() -> None:
    records = [RankRecord(rank=rank, steps=rank) for rank in range(20)]
    assert table(build_report(job(nproc_per_node=20), run(*records)), "Ranks").note == "and 4 more with 4 ranks, peaks from 0 B to 0 B"


def test_sizes_of_several_tensors() -> None:
    sizes = [((2,),), ((2,), (2,)), ((2,), (3, 4), (5,)), ()]
    calls = in_order([collective(input_sizes=each, output_sizes=()) for each in sizes])
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), collectives=calls)))
    assert [row.cells[6] for row in table(report, "Every", trace=True).rows] == ["[2] -> -", "2 x [2] -> -", "[2] + 2 more -> -", "- -> -"]


def test_an_operation_is_a_row_of_its_own_group_only() -> None:
    """Groups without a name, or of one name, that have the same size are distinguished by their ranks."""
    for name in (None, "undefined"):
        calls = in_order([collective(group=name, group_ranks=ranks) for ranks in ((0, 1), (0, 2))])
        rows = table(build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls))), "Collectives of rank 0").rows
        assert [row.level for row in rows] == [0, 1, 0, 1]
        assert [row.cells[0].partition(": ")[2] for row in rows if not row.level] == ["ranks 0-1", "ranks 0,2"]


def test_a_group_of_one_rank_is_not_ranks() -> None:
    calls = in_order([collective(group="tp", group_ranks=(0,))])
    rows = table(build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls))), "Collectives of rank 0").rows
    assert rows[0].cells[0] == "tp (1): rank 0"


def test_the_class_with_the_least_headroom_comes_first() -> None:
    """Each of ranks 0 and 1 allocates less than rank 2, but on one device."""
    peaks = (2 * GIB, 2 * GIB + 512, 3 * GIB)
    records = [RankRecord(rank=rank, devices=(max(rank, 1),), program=program([block(peak)], [0])) for rank, peak in enumerate(peaks)]
    rows = table(build_report(job(nproc_per_node=3), run(*records)), "Ranks").rows
    assert [row.cells[0] for row in rows] == ["1", "0", "2"]


STOPPED = {
    "no rank": ([None, None], ()),
    "every rank at one line": (["train.py:9", "train.py:9"], ("after step 1 at train.py:9",)),
    "one rank": ([None, "train.py:9"], ("after step 1 at train.py:9 (rank 1)",)),
    "ranks at different lines": (
        ["train.py:9", "train.py:7", "train.py:9"],
        ("after step 1 at train.py:9 (ranks 0 and 2)", "after step 1 at train.py:7 (rank 1)"),
    ),
    "many lines": (
        [f"train.py:{line}" for line in range(5)],
        (*(f"after step 1 at train.py:{line} (rank {line})" for line in range(3)), "and 2 others"),
    ),
}


@pytest.mark.parametrize(("lines", "places"), STOPPED.values(), ids=STOPPED)
def test_where_ranks_were_stopped(lines: list[str | None], places: tuple[str, ...]) -> None:
    records = [RankRecord(rank=rank, steps=2, stopped_at=None if line is None else site(line)) for rank, line in enumerate(lines)]
    facts = {fact.label: fact.values for fact in page_of(build_report(job(), run(*records))).facts.facts}
    expected = (*places, "what follows was not checked (--steps all)") if places else None
    assert facts.get("stopped") == expected


@pytest.mark.parametrize(
    ("asked", "completed", "text"),
    [
        (2, (2, 2), "2 steps"),
        (2, (8,), "8 steps"),
        (1, (1,), "1 step"),
        (2, (0, 1), "0-1 of 2 steps"),
        (None, (5,), "5 steps"),
        (None, (4, 5), "4-5 steps"),
    ],
)
def test_how_many_steps_of_those_asked_for(asked: int | None, completed: tuple[int, ...], text: str) -> None:
    records = [RankRecord(rank=rank, steps=steps) for rank, steps in enumerate(completed)]
    (values,) = (fact.values for fact in page_of(build_report(job(steps=asked), run(*records))).facts.facts if fact.label == "simulated")
    assert values[1] == text


def summary_of(report: Report) -> str:
    summary = page_of(report).summary
    return f"{summary.verdict}  {summary.text}"


def report_of_rank(**fields: Any) -> Report:
    weights = program([block(GIB, Category.PARAMETER, module="layer")], [0])
    rank = RankRecord(rank=0, devices=(0,), program=weights, **fields)
    return build_report(job(), run(rank), Budgets(allowed=(CodeBudget(code=FindingCode.MESH_RESIZED, source="--ignore"),)))


def test_the_summary_of_a_run_without_findings() -> None:
    calls = in_order([collective(step=0), collective(step=1, nbytes=2 * GIB)])
    assert summary_of(report_of_rank(steps=2, collectives=calls)) == (
        "OK  peak 1.00 GiB reserved of 79.1 GiB (fits), 3.00 GiB bus bytes per step, no errors; not checked: 3 of 4 ranks"
    )


def test_the_summary_says_what_is_ignored_and_what_was_not_run() -> None:
    findings = tuple(
        Finding(code=code, message="one") for code in (FindingCode.NON_MEMBER, FindingCode.MESH_RESIZED, FindingCode.NOT_SAVED)
    )
    assert summary_of(report_of_rank(steps=2, findings=findings, stopped_at=site("train.py:9"))) == (
        "OK  peak 1.00 GiB reserved of 79.1 GiB (fits), 0 B bus bytes per step, no errors, 1 warning, 1 ignored; "
        "not checked: 3 of 4 ranks, what follows step 1"
    )


def test_the_summary_of_ranks_that_failed() -> None:
    assert summary_of(report_of_rank(failure=NO)) == (
        "SCRIPT FAILED  peak 1.00 GiB reserved of 79.1 GiB, 1 rank failed, no errors; not checked: 3 of 4 ranks"
    )


def test_the_summary_counts_ranks_that_are_only_assumed() -> None:
    assert summary_of(many_ranks()).endswith("; not checked: 2044 of 2048 ranks (assumed)")


def test_as_many_tensors_as_asked_for() -> None:
    blocks = [block(GIB - i, Category.PARAMETER, module=f"layer{i}", shape=(i + 1,)) for i in range(12)]
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, program=program(blocks, range(12)))))

    def listed(detail: Detail) -> int:
        (peak,) = (each for each in page_of(report, detail).sections if each.title == "Allocated at the peak")
        (tensors,) = (each for each in peak.blocks if isinstance(each, Table))
        return sum("smaller tensors" not in row.cells for row in tensors.rows)

    assert [listed(detail) for detail in (Detail(), Detail(tensors=3), Detail(tensors=100))] == [8, 3, 12]


@pytest.mark.parametrize(
    ("exit_code", "stderr", "is_told"),
    [
        (2, "usage: train.py [-h] --lr LR\ntrain.py: error: the following arguments are required: --lr", True),
        (1, "usage: train.py [-h] --lr LR", False),
        (2, "the usage: none", False),
    ],
)
def test_a_script_that_refuses_its_arguments_is_told_how_they_are_passed(exit_code: int, stderr: str, is_told: bool) -> None:
    failure = ProcessFailure(kind=FailureKind.EXIT, exception="SystemExit", message="2", traceback=stderr, exit_code=exit_code)
    report = build_report(job(), run(RankRecord(rank=0, failure=failure)))
    told = [text for text in texts(section(report, "Ranks that did not finish")) if "refuses its arguments" in text]
    assert len(told) == is_told
