"""What a page is made of: a title, and sections of a few kinds of block.

Plain data between the model and the formats. Numbers and names are text here, so that every format writes them the same. No block
knows a format, a width or a colour: a Tone says what a text means, and a column says what it can do without.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from fakerun.records.finding_code import Severity

ESSENTIAL = 100
"""The priority of a column that is never left out."""


class Tone(Enum):
    """What a text means to the reader; a format may show it with a colour."""

    PLAIN = auto()
    MUTED = auto()
    GOOD = auto()
    BAD = auto()


class Clip(Enum):
    """Which part of a cell stays when it is too long for its column."""

    NEVER = auto()
    """All of it: the cell is not shortened."""
    KEEP_START = auto()
    KEEP_FILE = auto()
    """The end of a `path:line`, whole directories of it where possible."""
    KEEP_MODULE = auto()
    """The end of a dotted module name, whole names of it where possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """A paragraph."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A label and what is to be said under it: one value or several, each in a line if possible."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Labelled values, a line for each label."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a series: what it belongs to, the number, and the number as text."""

    label: str
    value: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values in order, to be listed or drawn. `unit` is the unit of every `Point.value`."""

    label: str
    unit: Literal["bytes"]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's heading and what gives way where the table is too wide.

    Neighbours with the same `span` stand under it as a common heading. `clip` says how cells are shortened, down to `min_width`
    characters. Where that is not enough, the column with the lowest `priority` is left out first. `max_width` limits the column
    where characters have a fixed width.
    """

    heading: str
    span: str = ""
    align: Literal["left", "right"] = "left"
    clip: Clip = Clip.NEVER
    min_width: int = 0
    max_width: int | None = None
    priority: int = ESSENTIAL

    @property
    def full_heading(self) -> str:
        """`step 0 bytes`: the heading by itself, with the common one."""
        return f"{self.span} {self.heading}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells of a line, one for each column. A row of level 1 is a part of the row of level 0 above it."""

    cells: tuple[str, ...]
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns, then totals, then a `note` on what is not in it. A `listing` is complete where there is room for it."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    totals: tuple[Row, ...] = ()
    note: str = ""
    is_listing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Two small tables on the same subject: next to each other where there is room."""

    left: Table
    right: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingItem:
    """One finding. `ranks` is empty where it goes without saying."""

    severity: Severity
    code: str
    ranks: str
    call_sites: tuple[str, ...]
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Findings, most severe first."""

    items: tuple[FindingItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traceback:
    """How ranks ended: the verdict (`FAILED`), what happened, and the lines that Python wrote.

    `lines_end_with_message` tells that the end of the lines has the whole message, so that `what_happened` may be shortened.
    """

    verdict: str
    what_happened: str
    lines: tuple[str, ...]
    lines_end_with_message: bool


Block: TypeAlias = Prose | Facts | Series | Table | SideBySide | Findings | Traceback


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Blocks under a title, with a remark beside the title. Level 2 belongs to the section of level 1 before it."""

    title: str
    blocks: tuple[Block, ...]
    remark: Prose | None = None
    level: Literal[1, 2] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The result in one line: `OK` or another verdict, and the figures."""

    verdict: str
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The result in a line, a title, facts that say what the page is about, and sections in order; what needs attention comes last."""

    summary: Summary
    title: str
    facts: Facts
    sections: tuple[Section, ...]
