"""The table for spreadsheets, read by the csv module."""

import csv
import io
from pathlib import Path

from fakerun.records.collective import CollectiveOp
from fakerun.records.run import RankRecord
from fakerun.report import JobReport, build_report
from fakerun.report.formats.csv import COLUMNS, render
from tests.unit.jobs_by_hand import job_report, several_jobs
from tests.unit.records_by_hand import collective, in_order, job, run
from tests.unit.test_report_formats_text import llama_8b, many_ranks

GOLDEN = Path(__file__).parent / "golden"


def rows(*jobs: JobReport) -> list[dict[str, str]]:
    text = render(jobs)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found = list(reader)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    assert all(None not in row and None not in row.values() for row in found)  # as many cells as columns
    return found


def test_page() -> None:
    assert render(several_jobs()) == (GOLDEN / "several_jobs.csv").read_text(encoding="utf-8")


def test_a_row_for_each_class_and_one_for_each_of_its_operations() -> None:
    report = llama_8b()
    of_ranks, *of_operations = rows(JobReport(name="8b", report=report))
    device = report.ranks[0].largest_device
    assert of_ranks["row"] == "ranks"
    assert int(of_ranks["peak_reserved_bytes"]) == device.reserved.peak_bytes
    assert int(of_ranks["peak_allocated_bytes"]) == device.footprint.peak_bytes
    assert int(of_ranks["headroom_bytes"]) == report.classes[0].headroom_bytes
    assert [(row["row"], row["operation"], row["group"]) for row in of_operations] == [
        ("operation", each.op.value, each.group) for each in report.ranks[0].traffic.rows
    ]


def test_sums_over_operations_are_those_of_the_ranks() -> None:
    of_ranks, *of_operations = rows(JobReport(name="8b", report=llama_8b()))
    for column in ("calls", "bytes", "bus_bytes", "intra_node_bytes", "inter_node_bytes"):
        assert int(of_ranks[column]) == sum(int(row[column]) for row in of_operations) > 0 or column == "inter_node_bytes"
    assert {row["peak_reserved_bytes"] for row in of_operations} == {""}


def test_every_class_of_every_job_is_in_it() -> None:
    found = [row for row in rows(*several_jobs(), JobReport(name="many", report=many_ranks())) if row["row"] == "ranks"]
    assert sum(int(row["rank_count"]) for row in found if row["job"] == "many") == 2048
    assert [row["job"] for row in found].count("failing") == len(several_jobs()[2].report.classes)


def test_no_name_becomes_a_formula_or_a_date() -> None:
    calls = in_order([collective(CollectiveOp.ALL_REDUCE, group='=HYPERLINK("x")')])
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls)))
    of_ranks, of_operation = rows(JobReport(name="-m pkg, train", report=report))
    assert (of_ranks["job"], of_operation["group"]) == ("'-m pkg, train", '\'=HYPERLINK("x")')
    assert of_ranks["ranks"] == "rank 0"


def test_a_group_without_a_name_is_its_ranks() -> None:
    calls = in_order([collective(group=None, group_ranks=(0, 1, 2, 3))])
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls)))
    assert rows(JobReport(name="a", report=report))[1]["group"] == "ranks 0-3"


def test_a_job_without_ranks_has_no_rows() -> None:
    assert rows(JobReport(name="a", report=build_report(job(), run()))) == []
    assert len(rows(job_report())) == 1
