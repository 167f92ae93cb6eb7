"""Tables as text: alignment, which columns are clipped or dropped in narrow pages, tables side by side."""

from dataclasses import replace

import pytest

from fakerun.report.formats.text.text_table import TextTable, beside
from fakerun.report.page.blocks import Clip, Column, Row, Table

PLACE = "scripts/programs/train.py:9"
TABLE = Table(
    columns=(
        Column(heading="op"),
        Column(heading="calls", span="step 0", align="right", priority=1),
        Column(heading="bytes", span="step 0", align="right", priority=2),
        Column(heading="bytes", span="step 1", align="right"),
        Column(heading="call site", clip=Clip.KEEP_FILE, min_width=10),
    ),
    rows=(
        Row(cells=("dp", "2", "8 B", "16 B", "")),
        Row(cells=("send", "1", "4 B", "8 B", PLACE), level=1),
    ),
    totals=(Row(cells=("total", "2", "8 B", "16 B", "")),),
)


def test_lines() -> None:
    assert TextTable(TABLE).lines() == [
        "               step 0  step 1",
        "op      calls   bytes   bytes  call site",
        "------  -----  ------  ------  ---------------------------",
        "dp          2     8 B    16 B",
        f"  send      1     4 B     8 B  {PLACE}",
        "------  -----  ------  ------  ---------------------------",
        "total       2     8 B    16 B",
    ]


def test_a_wide_page_changes_nothing() -> None:
    assert TextTable(TABLE).fitted(None).lines() == TextTable(TABLE).fitted(58).lines() == TextTable(TABLE).lines()


def test_cells_are_clipped_before_a_column_is_dropped() -> None:
    fitted = TextTable(TABLE).fitted(57)
    assert fitted.columns == TABLE.columns
    assert fitted.lines()[4] == "  send      1     4 B     8 B  .../programs/train.py:9"


@pytest.mark.parametrize(("width", "left_out"), [(41, []), (40, ["step 0 calls"]), (33, ["step 0 calls", "step 0 bytes"])])
def test_the_column_of_the_lowest_priority_is_dropped_first(width: int, left_out: list[str]) -> None:
    fitted = TextTable(TABLE).fitted(width)
    assert [column.full_heading for column in TABLE.columns if column not in fitted.columns] == left_out
    assert max(map(len, fitted.lines())) <= width


def test_essential_columns_stay_however_narrow_the_page_is() -> None:
    assert [column.full_heading for column in TextTable(TABLE).fitted(1).columns] == ["op", "step 1 bytes", "call site"]


def test_a_rows_indent_counts_for_its_width_and_is_written_once() -> None:
    columns = (replace(TABLE.columns[0], clip=Clip.KEEP_START, max_width=5), *TABLE.columns[1:])
    limited = TextTable(replace(TABLE, columns=columns)).limited()
    assert [line[:6] for line in limited.lines()[3:5]] == ["dp    ", "  ... "]
    assert limited.fitted(57).lines()[4].startswith("  ...  ")


def test_a_limit_does_not_make_columns_wider() -> None:
    columns = (replace(TABLE.columns[0], clip=Clip.KEEP_START, max_width=50), *TABLE.columns[1:])
    assert TextTable(replace(TABLE, columns=columns)).limited().lines() == TextTable(TABLE).lines()


def test_side_by_side_where_there_is_room_else_one_below_the_other() -> None:
    assert beside(["a", "bb"], ["c"], width=7) == ["a     c", "bb"]
    assert beside(["a", "bb"], ["c"], width=6) == ["a", "bb", "", "c"]
