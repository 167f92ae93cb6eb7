"""The page as GitHub-flavoured Markdown: for pull requests, job summaries and issues. No width, no colour: nothing is clipped."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from fakerun.report.model import Comparison, Report
from fakerun.report.page import page_of
from fakerun.report.page.blocks import Block, Facts, FindingItem, Findings, Prose, Section, Series, SideBySide, Summary, Table, Tone
from fakerun.report.page.blocks import Traceback as TracebackBlock
from fakerun.report.page.detail import SHORT, Detail

_SPECIAL = re.compile(r"[\\`*\[<|~]|(?<!\w)_|_(?!\w)")
_NUMBER_SIGN = re.compile(r"#(?=\d)")
"""GitHub makes a link to an issue of `#5`, unless a comment is in between."""
_INDENT = "&emsp;"
_TONES = {Tone.GOOD: "**{}**", Tone.BAD: "**{}**", Tone.MUTED: "<sub>{}</sub>"}


def render(result: Report | Comparison, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The same page as the text format, with headings, tables and fenced tracebacks."""
    page = page_of(result, detail)
    parts = [f"# {_escaped(page.title)}", _summary(page.summary), *_blocks([page.facts])]
    for section in page.sections:
        parts += _section(section)
    return "".join(f"{_gap(before, part)}{part}" for before, part in pairwise(("", *parts))) + "\n"


def _gap(before: str, part: str) -> str:
    """Items of a list follow each other; all else is a paragraph of its own."""
    if not before:
        return ""
    return "\n" if before.startswith("- ") and part.startswith("- ") else "\n\n"


def _section(section: Section) -> Iterator[str]:
    yield f"{'#' * (section.level + 1)} {_escaped(section.title)}"
    if section.remark:
        yield _prose(section.remark)
    yield from _blocks(section.blocks)


def _blocks(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Prose():
                yield _prose(block)
            case Facts():
                yield "\n".join(f"- {_escaped(fact.label)}: {_escaped(', '.join(fact.values))}" for fact in block.facts)
            case Series():
                yield f"- {_escaped(block.label)}: " + ", ".join(_escaped(f"{point.text} ({point.label})") for point in block.points)
            case Table():
                yield from _table(block)
            case SideBySide():
                yield from (*_table(block.left), *_table(block.right))
            case Findings():
                yield from map(_finding, block.items)
            case TracebackBlock():
                yield from _traceback(block)


def _summary(summary: Summary) -> str:
    return f"**{_escaped(summary.verdict)}** {_escaped(summary.text)}"


def _prose(prose: Prose) -> str:
    return _TONES.get(prose.tone, "{}").format(_escaped(prose.text))


def _table(table: Table) -> Iterator[str]:
    rule = ["---:" if column.align == "right" else "---" for column in table.columns]
    rows = [[_INDENT * row.level + cell if not at else cell for at, cell in enumerate(map(_escaped, row.cells))] for row in table.rows]
    totals = [[f"**{cell}**" if cell else "" for cell in map(_escaped, row.cells)] for row in table.totals]
    lines = [[_escaped(column.full_heading) for column in table.columns], rule, *rows, *totals]
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    if table.note:
        yield _escaped(table.note)


def _finding(item: FindingItem) -> str:
    ranks = f" on {item.ranks}" if item.ranks else ""
    places = f" at {', '.join(f'`{place}`' for place in item.call_sites)}" if item.call_sites else ""
    hint = f"  \n  *{_escaped(item.hint)}*" if item.hint else ""
    return f"- **{item.severity}** `{item.code}`{ranks}{places}  \n  {_escaped(item.message)}{hint}"


def _traceback(block: TracebackBlock) -> Iterator[str]:
    """In a fence that is longer than any run of backticks in it."""
    yield f"**{block.verdict}** {_escaped(block.what_happened)}"
    if block.lines:
        text = "\n".join(block.lines)
        fence = "`" * (max([2, *map(len, re.findall("`+", text))]) + 1)
        yield f"{fence}text\n{text}\n{fence}"


def _escaped(text: str) -> str:
    return _NUMBER_SIGN.sub("#<!-- -->", _SPECIAL.sub(r"\\\g<0>", text)).replace("\n", "<br>")
