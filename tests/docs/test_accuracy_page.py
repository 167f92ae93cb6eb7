"""`docs/accuracy.md` has every row of the data that it is written from, with its published figure. `accuracy.py` writes it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.quantities import BYTES
from fakerun.units import GIB

REPOSITORY = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "scripts" / "dev" / "accuracy_rows.yaml").read_text(encoding="utf-8"))["rows"]
LINES = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("number", "row"), list(enumerate(ROWS, 1)), ids=[row["id"] for row in ROWS])
def test_the_page_has_each_row(number: int, row: dict[str, Any]) -> None:
    assert any(line.startswith(f"{number}. `{row['id']}`: {row['source']}.") for line in LINES)
    cells = [line.split(" | ") for line in LINES if line.startswith(f"| {row['what']} [{number}]")]
    if "reserved" in row:
        assert f"{BYTES.parse(row['reserved']) / GIB:.2f}" in [line[1] for line in cells]
    else:
        assert [line[1] for line in cells] == [row["outcome"]]
    assert hardware_named(row["hardware"]).usable_bytes > 0


def test_a_row_has_a_figure_or_an_outcome_and_its_source() -> None:
    for row in ROWS:
        assert ("reserved" in row) != ("outcome" in row), row["id"]
        assert row["source"].startswith("github.com/"), row["id"]


def test_the_errors_are_those_of_the_figures_that_they_stand_beside() -> None:
    """Recomputed from the two figures of the line, which are rounded to 0.01 GiB."""
    found = [line.split(" | ") for line in LINES if re.search(r" \| [+-]\d\.\d\d % \| ", line)]
    assert len(found) == sum("reserved" in row for row in ROWS)
    for line in found:
        published, predicted = float(line[1]), float(next(cell for cell in line if cell.startswith("**")).strip("*"))
        assert float(line[4].split()[0]) == pytest.approx(100 * (predicted / published - 1), abs=100 * 0.012 / published)
