"""Rows of text in aligned columns that fit a width, and blocks of lines side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

Row = Sequence[str]

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A heading (a line break makes two lines of it), how the cells below are aligned, and what gives way in a narrow terminal.

    `clip` makes a cell of this column shorter, down to `at_least` characters. A column that is `dispensable` is left out where
    shorter cells are not enough, the one with the lowest number first; 0 always stays.
    """

    heading: str
    align: Literal["left", "right"] = "left"
    clip: Callable[[str, int], str] | None = None
    at_least: int = 0
    dispensable: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: headings, a rule, the rows and, below another rule, the sums."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    sums: Sequence[Row] = field(default=())

    def fitted(self, width: int | None) -> Self:
        """The same in at most `width` characters, if its columns can give way as far as that. No width is no limit."""
        widths = self._widths()
        excess = 0 if width is None else sum(widths) + _GAP * (len(widths) - 1) - width
        if excess <= 0:
            return self
        room = [max(0, have - column.at_least) if column.clip else 0 for column, have in zip(self.columns, widths, strict=True)]
        dispensable = [column for column in self.columns if column.dispensable]
        if sum(room) < excess and dispensable:
            return self._without(min(dispensable, key=lambda column: column.dispensable)).fitted(width)
        for _ in range(min(excess, sum(room))):
            widest = max((at for at, more in enumerate(room) if more), key=lambda at: widths[at])
            widths[widest] -= 1
            room[widest] -= 1
        return self._clipped(widths)

    def lines(self) -> list[str]:
        import tabulate  # 70 ms, most of what a report would cost to import

        # As tabulate's "simple", but the headings are rows: tabulate would add two columns to the width of each.
        rule = tabulate.Line("", "-", " " * _GAP, "")
        row = tabulate.DataRow("", " " * _GAP, "")
        layout = tabulate.TableFormat(None, rule, None, None, row, row, padding=0, with_header_hide=None)
        separated = [tabulate.SEPARATING_LINE, *self.sums] if self.sums else []
        text = tabulate.tabulate(
            [*self._headings(), tabulate.SEPARATING_LINE, *self.rows, *separated],
            tablefmt=layout,
            disable_numparse=True,
            preserve_whitespace=True,
            colalign=[column.align for column in self.columns],
        )
        return [line.rstrip() for line in text.splitlines()]

    def _headings(self) -> list[Row]:
        """One row, or two where a heading has two lines: the others stand in the lower one."""
        upper, lower = [], []
        for column in self.columns:
            above, _, below = column.heading.rpartition("\n")
            upper.append(above)
            lower.append(below)
        return [upper, lower] if any(upper) else [lower]

    def _widths(self) -> list[int]:
        return [max(map(len, cells)) for cells in zip(*self._headings(), *self.rows, *self.sums, strict=True)]

    def _without(self, column: Column) -> Self:
        at = self.columns.index(column)
        columns = [*self.columns[:at], *self.columns[at + 1 :]]
        rows, sums = ([[*row[:at], *row[at + 1 :]] for row in part] for part in (self.rows, self.sums))
        return replace(self, columns=columns, rows=rows, sums=sums)

    def _clipped(self, widths: Sequence[int]) -> Self:
        def clipped(row: Row) -> list[str]:
            return [
                column.clip(cell, width) if column.clip and len(cell) > width else cell
                for column, cell, width in zip(self.columns, row, widths, strict=True)
            ]

        headings = clipped([column.heading for column in self.columns])
        columns = [replace(column, heading=heading) for column, heading in zip(self.columns, headings, strict=True)]
        return replace(self, columns=columns, rows=[*map(clipped, self.rows)], sums=[*map(clipped, self.sums)])


def beside(left: Sequence[str], right: Sequence[str], *, width: int, gap: int = 4) -> list[str]:
    """Two blocks of plain lines next to each other, or one below the other where they are wider than `width` together."""
    edge = max(map(len, left), default=0) + gap
    if edge + max(map(len, right), default=0) > width:
        return [*left, "", *right]
    lines = max(len(left), len(right))
    return [f"{a:<{edge}}{b}".rstrip() for a, b in zip(_padded(left, lines), _padded(right, lines), strict=True)]


def _padded(block: Iterable[str], lines: int) -> list[str]:
    block = list(block)
    return [*block, *[""] * (lines - len(block))]
