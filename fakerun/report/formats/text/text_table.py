"""A table of the page as lines of text: aligned columns fitted to a width, and tables side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType

from fakerun.report.formats.text.style import clip_end, clip_module, clip_place
from fakerun.report.page.blocks import ESSENTIAL, Clip, Column, Row, Table

_GAP = 2
_INDENT = "  "
"""For each level of a row."""

_CLIPS: Mapping[Clip, Callable[[str, int], str]] = MappingProxyType(
    {Clip.KEEP_START: clip_end, Clip.KEEP_FILE: clip_place, Clip.KEEP_MODULE: clip_module}
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table where every character is of the same width. Each method returns a table with shorter cells or fewer columns."""

    table: Table

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.table.columns

    def limited(self) -> "TextTable":
        """The same with every column in its `max_width`."""
        widths = (
            have if column.max_width is None else min(have, column.max_width)
            for column, have in zip(self.columns, self._widths(), strict=True)
        )
        return self._clipped(list(widths))

    def fitted(self, width: int | None) -> "TextTable":
        """The same in at most `width` characters, if its columns can give way as far as that. No width is no limit."""
        widths = self._widths()
        excess = 0 if width is None else sum(widths) + _GAP * (len(widths) - 1) - width
        if excess <= 0:
            return self
        room = [max(0, have - column.min_width) if column.clip in _CLIPS else 0 for column, have in zip(self.columns, widths, strict=True)]
        least = min(self.columns, key=lambda column: column.priority)
        if sum(room) < excess and least.priority < ESSENTIAL:
            return self._without(least).fitted(width)
        for _ in range(min(excess, sum(room))):
            widest = max((at for at, more in enumerate(room) if more), key=lambda at: widths[at])
            widths[widest] -= 1
            room[widest] -= 1
        return self._clipped(widths)

    def lines(self) -> list[str]:
        """Headings, a rule, the rows and, below another rule, the totals."""
        import tabulate  # 70 ms, most of what a report would cost to import

        # As tabulate's "simple", but the headings are rows: tabulate would add two columns to the width of each.
        rule = tabulate.Line("", "-", " " * _GAP, "")
        row = tabulate.DataRow("", " " * _GAP, "")
        layout = tabulate.TableFormat(None, rule, None, None, row, row, padding=0, with_header_hide=None)
        totals = [tabulate.SEPARATING_LINE, *map(_cells, self.table.totals)] if self.table.totals else []
        text = tabulate.tabulate(
            [*self._headings(), tabulate.SEPARATING_LINE, *map(_cells, self.table.rows), *totals],
            tablefmt=layout,
            disable_numparse=True,
            preserve_whitespace=True,
            colalign=[column.align for column in self.columns],
        )
        return [line.rstrip() for line in text.splitlines()]

    def _headings(self) -> list[list[str]]:
        """One row; above it, where columns have a common heading, another one with that heading over their middle."""
        headings = [column.heading for column in self.columns]
        if not any(column.span for column in self.columns):
            return [headings]
        spans: list[str] = []
        for span, columns in groupby(self.columns, key=lambda column: column.span):
            count = len(list(columns))
            spans += [span if at == count // 2 else "" for at in range(count)]
        return [spans, headings]

    def _widths(self) -> list[int]:
        return [max(map(len, cells)) for cells in zip(*self._headings(), *map(_cells, (*self.table.rows, *self.table.totals)), strict=True)]

    def _without(self, column: Column) -> "TextTable":
        at = self.columns.index(column)

        def shorter(rows: Iterable[Row]) -> tuple[Row, ...]:
            return tuple(replace(row, cells=(*row.cells[:at], *row.cells[at + 1 :])) for row in rows)

        columns = (*self.columns[:at], *self.columns[at + 1 :])
        return TextTable(replace(self.table, columns=columns, rows=shorter(self.table.rows), totals=shorter(self.table.totals)))

    def _clipped(self, widths: Sequence[int]) -> "TextTable":
        def clipped(rows: Iterable[Row]) -> tuple[Row, ...]:
            return tuple(replace(row, cells=tuple(_clipped_cells(row, self.columns, widths)), level=0) for row in rows)

        return TextTable(replace(self.table, rows=clipped(self.table.rows), totals=clipped(self.table.totals)))


def _cells(row: Row) -> list[str]:
    first, *others = row.cells
    return [_INDENT * row.level + first, *others]


def _clipped_cells(row: Row, columns: Sequence[Column], widths: Sequence[int]) -> Iterable[str]:
    for cell, column, width in zip(_cells(row), columns, widths, strict=True):
        clip = _CLIPS.get(column.clip)
        yield clip(cell, width) if clip and len(cell) > width else cell


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
