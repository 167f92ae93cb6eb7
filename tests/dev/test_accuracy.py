"""`scripts/dev/accuracy.py`: predictions and the page of rows whose programs are built by hand. tests/docs holds the page itself."""

from collections.abc import Sequence
from typing import Any

import pytest
from dev.accuracy import Prediction, Result, Row, figures, gib, misses, outcomes, page, pools, summary

from fakerun.hardware.catalogue import hardware_named
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import block, program

GIB, MIB = 2**30, 2**20


def row(name: str = "one", **others: Any) -> Row:
    fields = {
        "what": f"What {name} is",
        "source": "github.com/somebody/something",
        "expandable_segments": True,
        "world_size": 8,
        "hardware": "h100-80gb",
        "torchtitan": {"commit": "abc", "config": "x.toml"},
        "reserved": "4.00 GiB",
        **others,
    }
    return Row(id=name, **fields)


def prediction(of: Row, *sizes: int) -> Prediction:
    """A program that allocates blocks of so many MiB one after the other, and keeps all."""
    record = RankRecord(
        rank=0, steps=1, devices=(0,), program=program([block(size * MIB) for size in sizes], range(len(sizes)), [len(sizes)])
    )
    return Prediction(row=of, record=record)


def result(of: Row, *sizes: int) -> Result:
    made = prediction(of, *sizes)
    return Result(row=of, own=made, today=made, ours=None)


def cells(lines: Sequence[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


def test_blocks_are_rounded_up_to_segments() -> None:
    memory = prediction(row(), 2000, 2047).memory
    assert memory[False].peak_bytes == (2000 + 2048) * MIB
    assert memory[False].peak_allocated_bytes == (2000 + 2048) * MIB, "what is left of a segment is too small to be split off"
    assert memory[True].peak_bytes == (2000 + 2060) * MIB, "expandable ones grow by 20 MiB"


def test_the_error_is_of_the_published_figure() -> None:
    assert prediction(row(reserved="4.00 GiB"), 4096).error(False) == 0
    assert prediction(row(reserved="3.20 GiB"), 4096).error(False) == pytest.approx(0.25)


def test_of_settings_that_are_not_known_the_nearer_figure_counts() -> None:
    sizes = (11, 11, 11)
    expandable, fixed = (prediction(row(), *sizes).memory[each].peak_bytes for each in (True, False))
    assert expandable != fixed
    for nearer, nbytes in ((True, expandable), (False, fixed)):
        unknown = row(expandable_segments="unknown", reserved=f"{nbytes / GIB:.6f} GiB")
        assert prediction(unknown, *sizes).counted is nearer
    assert prediction(row(expandable_segments=False), *sizes).counted is False


@pytest.mark.parametrize(("gib_allocated", "verdict"), [(60, "fits"), (82, "does not fit")])
def test_the_verdict_leaves_room_for_what_is_outside_the_allocator(gib_allocated: int, verdict: str) -> None:
    made = prediction(row(), *[1024] * gib_allocated)
    low, high = made.outside()
    assert 0 < low <= high
    assert made.verdict() == verdict


def test_it_is_tight_between_the_lowest_and_the_highest() -> None:
    low, high = prediction(row(), 1).outside()
    between = (hardware_named("h100-80gb").usable_bytes - (low + high) // 2) // (2 * MIB) * 2
    assert prediction(row(), between).verdict() == "tight"


def test_figures_have_the_counted_one_in_bold() -> None:
    (line,) = cells(list(figures([result(row(reserved="25.00 GiB"), 20480)])))
    assert line == ["What one is [1]", "25.00", "**20.00**", "20.00", "-20.00 %", "20.00", "20.00", "-"]
    without_program = Result(row=row(), own=None, today=None, ours=prediction(row(), 2040))
    (line,) = cells(list(figures([without_program])))
    assert line == ["What one is [1]", "4.00", "-", "-", "-", "-", "-", "1.99 (-50.20 %)"]


def test_the_largest_error_is_that_of_the_largest_size() -> None:
    results = [result(row("one", reserved="21.00 GiB"), 20480), result(row("two", reserved="25.00 GiB"), 20480)]
    assert list(summary(results)) == ["Largest error of 2 runs: -20.00 %."]
    assert list(summary([])) == []


def test_outcomes_have_a_verdict() -> None:
    failed = row("failed", reserved=None, outcome="out of memory")
    lines = cells(list(outcomes([result(row(), 4096), result(failed, *[1024] * 82)])))
    assert [(line[0], line[1], line[5]) for line in lines] == [
        ("What one is [1]", "fits", "fits"),
        ("What failed is [2]", "out of memory", "does not fit"),
    ]
    assert lines[0][3] == gib(4 * GIB)


def test_pools_are_by_stream_and_size_class() -> None:
    (line,) = cells(list(pools([result(row(), 20480)])))
    assert line == ["[1]", "default stream 20.0 GiB, 0 B"]


def test_what_was_missed_is_said_with_its_note() -> None:
    hit = result(row("hit", reserved="20 GiB"), 20480)
    missed = result(row("missed", note="A reason.", torch_behaviour="2.6", options=["--x"]), 3072)
    first, second = misses([hit, missed])
    assert first == "1. `hit`: github.com/somebody/something. torchtitan abc, ."
    assert second.endswith("torchtitan abc, `--torch-behaviour 2.6`, `--x`. A reason. **Missed.**")


def test_the_page_has_every_part() -> None:
    text = "\n".join(page([result(row(), 4096)]))
    for part in ("# Accuracy", "## Reserved memory", "## Verdicts", "## Where the peak is", "## Sources and notes"):
        assert f"{part}\n" in text
