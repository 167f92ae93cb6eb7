"""Rows of text in aligned columns, and blocks of lines side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading (a line break makes two lines of it) and how the cells below are aligned."""

    heading: str
    align: Literal["left", "right"] = "left"


def grid(columns: Sequence[Column], rows: Iterable[Row], *, sums: Iterable[Row] = ()) -> list[str]:
    """The lines of a table: headings, a rule, the rows and, below another rule, the sums."""
    import tabulate  # 70 ms, most of what a report would cost to import

    sums = list(sums)
    body = [*rows, *([tabulate.SEPARATING_LINE, *sums] if sums else [])]
    text = tabulate.tabulate(
        body,
        headers=[column.heading for column in columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=[column.align for column in columns] if body else None,
    )
    return [line.rstrip() for line in text.splitlines()]


def beside(left: Sequence[str], right: Sequence[str], *, gap: int = 4) -> list[str]:
    """Two blocks of plain lines next to each other."""
    width = max(map(len, left), default=0) + gap
    return [f"{a:<{width}}{b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]
