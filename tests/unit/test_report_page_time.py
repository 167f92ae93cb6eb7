"""The sections on step time, in every format that shows them; what is not known is said with its reason."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fakerun.analysis.time.estimate import NoEstimate, StepEstimate
from fakerun.analysis.time.utilisation import Tokens
from fakerun.records.run import RankRecord
from fakerun.report import JobReport, Report, build_report
from fakerun.report.formats import csv as csv_format
from fakerun.report.formats import json as json_format
from fakerun.report.formats import markdown, text
from fakerun.report.page.summary import summary
from fakerun.report.page.time import OF_PUBLIC_RUNS
from fakerun.report.result import decode_result, encode_result
from tests.unit.estimates_by_hand import estimate, published
from tests.unit.records_by_hand import collective, in_order, job, run

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schema" / "report.schema.json").read_text(encoding="utf-8"))


def timed(step_time: StepEstimate | NoEstimate) -> Report:
    calls = in_order([collective(step=0), collective(step=1)])
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=2, collectives=calls)))
    return replace(report, step_time=step_time)


def section(report: Report) -> str:
    page = text.render(report)
    return page[page.index("Step time") : page.rindex("\n\n")]


def test_page() -> None:
    page = text.render(timed(estimate(published(0.7, 0.85, constant=0.8))))
    assert page == (GOLDEN / "step_time.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_page_fits_a_terminal(width: int) -> None:
    first, *lines = text.render(timed(estimate(published(0.7, 0.85))), width=width).splitlines()
    assert max(len(line) for line in lines if line != first) <= width


def test_markdown_has_the_same_tables() -> None:
    page = markdown.render(timed(estimate(published(0.7, 0.85))))
    assert "What the step is spent on" in page
    assert "exposed communication" in page


def test_the_constant_is_said_to_come_from_public_runs_where_it_is_used() -> None:
    said = " ".join(section(timed(estimate(published(0.8)))).split())
    assert OF_PUBLIC_RUNS in said
    assert "5.00 s summed / 0.800 (published-run constant)" in said
    assert OF_PUBLIC_RUNS not in " ".join(section(timed(estimate())).split())
    assert "range         not known, no similar published run was compared" in section(timed(estimate(constant=0.9)))
    assert "5.00 s summed, expect a step to take longer" in section(timed(estimate()))
    assert "6.00 s, 5.00 s summed / 0.833 (measured step)" in section(timed(estimate(measured_s=6.0)))


def test_runs_on_other_cards_are_said_to_be() -> None:
    said = section(timed(estimate(published(0.7, same_generation=False))))
    assert "none of this very kind on such a card" in " ".join(said.split())


def test_tokens_that_are_not_known_have_the_reason_and_the_way_out() -> None:
    said = section(timed(estimate(tokens=Tokens(count=None, origin="the model is given images"))))
    assert "not known: the model is given images, pass --tokens-per-step" in said


def test_the_line_of_the_result_has_the_figures() -> None:
    assert "5.00 s a step, 40 % MFU, 100 tokens/s per GPU, " in summary(timed(estimate())).text
    assert "a step" not in summary(timed(NoEstimate("no rank was simulated"))).text


def test_a_kept_result_has_the_same_line() -> None:
    report = timed(estimate())
    assert summary(decode_result(encode_result(report))) == summary(report)


def test_what_is_not_known_says_why() -> None:
    assert section(timed(NoEstimate("rank 3 failed"))) == "Step time\nnot known: rank 3 failed"


@pytest.mark.parametrize(
    "step_time", [estimate(), estimate(published(0.7)), estimate(tokens=Tokens(count=None, origin="none")), NoEstimate("rank 3 failed")]
)
def test_json_conforms_to_the_schema(step_time: StepEstimate | NoEstimate) -> None:
    document = json.loads(json_format.render(timed(step_time)))
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["step_time"] is None) == bool(document["step_time_unknown"])


def test_json_adds_up() -> None:
    step = json.loads(json_format.render(timed(estimate(published(0.8)))))["step_time"]
    assert sum(step["kinds_s"].values()) == pytest.approx(step["summed_s"])
    assert sum(entry["seconds"] for entry in step["critical_path"]) == pytest.approx(step["summed_s"])
    assert step["summed_s"] / step["explained"] == pytest.approx(step["seconds"])
    (axis,) = step["communication"]
    assert (axis["group"], axis["exposed_s"]) == ("dp", pytest.approx(1.0))


def test_csv_has_the_step_in_the_rows_of_ranks() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_format.render([JobReport(name="job", report=timed(estimate()), paths={})]))))
    assert [(row["row"], row["step_s"], row["mfu"], row["tokens_per_s"]) for row in rows[:2]] == [
        ("ranks", "5.0", "0.4", "200.0"),
        ("operation", "", "", ""),
    ]


def test_a_step_without_some_communication_is_a_bound_in_the_line_of_the_result() -> None:
    report = timed(replace(estimate(), without="communication between nodes"))
    line = "at least 5.00 s a step without communication between nodes, at most 40 % MFU, at most 100 tokens/s per GPU, "
    assert line in summary(report).text
    assert summary(decode_result(encode_result(report))) == summary(report)
    assert "range         not known, communication between nodes counts as 0 s" in section(report)


def test_a_utilisation_above_the_peak_is_not_said_without_a_warning() -> None:
    assert "200 % MFU (above the card's peak)" in summary(timed(estimate(measured_s=1.0))).text


def test_a_gain_that_is_rounding_is_nothing() -> None:
    found = estimate()
    said = section(timed(replace(found, summed=replace(found.summed, gains_s={"dp": 4.4e-16}))))
    (row,) = (line for line in said.splitlines() if line.startswith("dp "))
    assert row.endswith("     0 s")


def test_a_reason_that_is_longer_than_a_line_is_wrapped_between_words() -> None:
    reason = "rank 0's model is given 8x1024, but whether the ranks along the axis called inner are given the same is not known"
    page = text.render(timed(estimate(tokens=Tokens(count=None, origin=reason))), width=80)
    assert max(map(len, page[page.index("Step time") : page.index("kernel costs")].splitlines())) <= 80
