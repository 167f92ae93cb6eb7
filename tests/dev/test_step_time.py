"""`scripts/dev/step_time.py`: what it makes of priced rows, and that its part of docs/accuracy.md and fakerun's data are made so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.generated_part import write_part
from dev.step_time import (
    HEADING,
    ROWS,
    Priced,
    Row,
    groups_table,
    left_out,
    notes,
    options_of,
    packages_of,
    page,
    pairs_of,
    pairs_table,
    program_of,
    published_runs_file,
    recorded,
    rows_table,
)

from fakerun.analysis.time.published_error import DATA_FILE, RunFeature, load_published_runs, published_constant, published_runs
from fakerun.analysis.time.step_time import StepTime
from tests.unit.steps_by_hand import RankByHand, played

REPOSITORY = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.load(ROWS.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
ALL_ROWS = {row["id"]: Row(**row) for row in DOCUMENT["rows"]}
PAGE = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8").splitlines()


def row(name: str, published_s: float, **others: Any) -> Row:
    fields = {"group": "dense", "hardware": "h100-80gb", "world_size": 8, "program": {}, **others}
    return Row(id=name, what=f"What {name} is", source="a page", published_s=published_s, **fields)


def step(seconds: float) -> StepTime:
    """Three quarters of it are computing, the rest is an optimizer's."""
    rank = RankByHand(group=(0,))
    for _ in range(2):
        rank.op(0.75 * seconds, name="aten.mm.default")
        rank.op(0.25 * seconds, name="aten._foreach_add_.List")
        rank.end_step()
    _, summed = played(rank)
    return summed


def priced(name: str, published_s: float, predicted_s: float, **others: Any) -> Priced:
    return Priced(row=row(name, published_s, **others), step=step(predicted_s))


FAST, SLOW = priced("fast", 2.0, 1.8, constant=True), priced("slow", 4.0, 3.0)
SMALL = priced("small", 1.0, 1.2, group="small", features=["small"])


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_an_error_is_of_the_published_time() -> None:
    assert FAST.error(1.0) == pytest.approx(-0.1)
    assert FAST.error(0.9) == pytest.approx(0.0)
    assert SMALL.error(1.0) == pytest.approx(0.2)


def test_the_kind_of_a_row_is_its_card_and_its_features() -> None:
    assert row("one", 1.0, hardware="a100-80gb").kind.generation == 8
    assert row("one", 1.0, features=["compiled", "float8"]).kind.features == {RunFeature.COMPILED, RunFeature.FLOAT8}


def test_rows_are_shown_with_sum_constant_and_shares() -> None:
    _, _, fast, slow = cells(list(rows_table([FAST, SLOW], 0.9)))
    assert fast[:6] == ["What fast is [1]", "2.000", "1.800", "-10.0 %", "2.000", "**+0.0 %** (gives the constant)"]
    assert slow[:6] == ["What slow is [2]", "4.000", "3.000", "-25.0 %", "3.333", "**-16.7 %**"]
    assert sum(int(cell.removesuffix(" %")) for cell in slow[6:]) == 100


def test_groups_have_the_median_size_and_the_worst_error() -> None:
    _, _, *lines = cells(list(groups_table([FAST, SLOW, SMALL], 0.9)))
    assert lines == [["dense", "2", "17.5 %", "-25.0 %", "8.3 %", "-16.7 %"], ["small", "1", "20.0 %", "+20.0 %", "33.3 %", "+33.3 %"]]


def test_each_dense_row_is_judged_by_the_others() -> None:
    within, by_others = left_out([FAST, SLOW, SMALL])
    assert within == "With the constant 1 of the 2 dense runs are within 10 %."
    assert by_others.endswith("median 18.3 %, worst +20.0 %.")  # 0.9 / 0.75 - 1, and 0.75 / 0.9 - 1
    assert list(left_out([FAST, SMALL])) == []


def test_every_two_rows_of_a_set_are_ordered_by_what_is_predicted_of_each_sequence() -> None:
    sets: list[dict[str, Any]] = [
        {"what": "as published", "rows": [{"id": "slow", "is": "slow one"}, {"id": "fast", "is": "fast one"}]},
        {"what": "long", "rows": [{"id": "slow", "is": "slow one", "sequences": 4}, {"id": "fast", "is": "fast one", "sequences": 1}]},
        {"what": "not run", "rows": [{"id": "fast", "is": "fast one"}, {"id": "not there", "is": "other"}]},
        {"what": "three", "rows": [{"id": "fast", "is": "a"}, {"id": "slow", "is": "b"}, {"id": "small", "is": "c"}]},
    ]
    assert list(pairs_of(sets[2:3], [FAST, SLOW])) == []
    text, _, _, _, *lines = pairs_table(list(pairs_of(sets, [FAST, SLOW, SMALL])))
    assert text == "5 of the 5 pairs are in the right order; of the 5 that differ by more than 1 % as published, 5."
    assert cells(lines) == [
        ["as published: fast one, slow one", "-50.0 %", "-40.0 %", "right"],
        ["long: slow one, fast one; for each sequence", "-50.0 %", "-58.3 %", "right"],
        ["three: c, a", "-50.0 %", "-33.3 %", "right"],
        ["three: c, b", "-75.0 %", "-60.0 %", "right"],
        ["three: a, b", "-50.0 %", "-40.0 %", "right"],
    ]


def test_a_pair_in_the_other_order_or_without_a_difference_is_not_right() -> None:
    close, same = priced("close", 2.01, 1.7), priced("same", 2.5, 1.8)
    rows = [{"id": each.row.id, "is": each.row.id} for each in (FAST, close, same)]
    text, _, _, _, *lines = pairs_table(list(pairs_of([{"what": "set", "rows": rows}], [FAST, close, same])))
    assert text == "1 of the 3 pairs are in the right order; of the 2 that differ by more than 1 % as published, 1."
    assert cells(lines) == [
        ["set: fast, close", "-0.5 %", "+5.9 %", "**wrong**"],
        ["set: fast, same", "-20.0 %", "+0.0 %", "**not told apart**"],
        ["set: close, same", "-19.6 %", "-5.6 %", "right"],
    ]


def test_what_fakerun_carries_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "runs.yaml"
    path.write_text(published_runs_file([FAST, SMALL], "# what it is\n\n"), encoding="utf-8")
    assert path.read_text().startswith("# what it is\nruns:\n")
    first, second = load_published_runs(path)
    assert first.predicted_s == pytest.approx(1.8, abs=1e-4)
    assert first == replace(FAST.published, predicted_s=first.predicted_s)
    assert second.kind == SMALL.published.kind


def test_options_and_packages_of_a_row() -> None:
    one = row("one", 1.0, torch_behaviour="2.6", ranks="0,7", program={"packages": {"torchao": "0.8"}})
    assert options_of(one) == ["--world-size", "8", "--hardware", "h100-80gb", "--torch-behaviour", "2.6", "--ranks", "0,7"]
    assert packages_of(one, ["/all", "torchao-0.8=/this", "torchao-0.9=/other"]) == ["/all", "/this"]


def test_programs_whose_clone_is_not_there_are_left_out() -> None:
    for each in ALL_ROWS.values():
        program = program_of(each, None, None)
        assert program is None or program.script.is_file(), each.id
        assert (program is None) == bool({"torchtitan", "modded_nanogpt"} & each.program.keys()), each.id


def test_a_run_that_is_not_there_is_not_recorded(tmp_path: Path) -> None:
    assert recorded(tmp_path / "nothing") is None


def test_a_part_of_the_page_replaces_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Accuracy\n\nmemory\n\n## Step time\n\nold\n", encoding="utf-8")
    text = "\n".join(page([FAST, SLOW], {"sets": [], "left_out": [], "rows": [{"id": "slow"}, {"id": "more", "what": "More"}]}, 0.9))
    write_part(path, HEADING, text)
    written = path.read_text(encoding="utf-8")
    assert written.startswith("# Accuracy\n\nmemory\n\n## Step time\n\nSteps of training runs")
    assert "old" not in written
    assert "- `more`: More; its program was not run for this page." in written
    assert "`slow`: What slow" not in written


# -- what is in the repository --------------------------------------------------------------------------------------------------------

CARRIED = {
    run.id: Priced(row=ALL_ROWS[run.id], step=replace(SLOW.step, seconds=run.predicted_s)) for run in published_runs() if run.id in ALL_ROWS
}
"""The rows with the sums that fakerun carries, which are rounded to 0.1 ms."""


def number(cell: str) -> float:
    return float(cell.strip("*").split()[0])


def test_what_fakerun_carries_is_what_the_script_writes_of_the_rows() -> None:
    comment = DATA_FILE.read_text(encoding="utf-8").partition("runs:")[0]
    assert DATA_FILE.read_text(encoding="utf-8") == published_runs_file(list(CARRIED.values()), comment)


def test_the_page_has_what_the_script_makes_of_these_sums() -> None:
    """All but the runs' own shares of compute and communication, for which the runs are needed."""
    rows = list(CARRIED.values())
    constant = published_constant([each.published for each in rows])
    assert constant is not None
    for lines in (groups_table(rows, constant), left_out(rows), pairs_table(list(pairs_of(DOCUMENT["sets"], rows))), notes(rows)):
        assert [line for line in lines if line not in PAGE] == []
    shown = {line[0]: line for line in cells([line for line in PAGE if line.startswith("| ")])}
    for name, *figures in cells(list(rows_table(rows, constant)))[2:]:
        for figure, on_page, rounding in zip(figures[:5], shown[name][1:], (0.0, 0.001, 0.1, 0.001, 0.1), strict=False):
            assert number(figure) == pytest.approx(number(on_page), abs=1.1 * rounding), name
    everything = "\n".join(page(rows, DOCUMENT, constant)).splitlines()
    text = [line for line in everything if not line.startswith(("| ", "Simulated with torch"))]
    assert [line for line in text if line not in PAGE] == []
