"""How a page and each kind of block is written as lines of text."""

from collections.abc import Iterable, Iterator, Sequence

from fakerun.records.finding_code import Severity
from fakerun.report.formats.text.style import Style, clip_end, unbroken
from fakerun.report.formats.text.text_table import TextTable, beside
from fakerun.report.page.blocks import (
    Block,
    Facts,
    FindingItem,
    Findings,
    Page,
    Prose,
    Section,
    Series,
    SideBySide,
    Summary,
    Table,
    Tone,
    Traceback,
)

_HEADING_LINES = 2
"""Lines for what happened to a rank, where the traceback below ends with the same message."""


def page_lines(page: Page, style: Style) -> list[str]:
    """The summary, the title and its facts, then the sections, a blank line before each, and the summary again: terminals show the end."""
    summary = _summary(page.summary, style)
    lines = [*summary, style.bold(clip_end(page.title, style.width)), *_block(page.facts, style, _label_width([page.facts]))]
    for section in page.sections:
        lines += ["", *_section(section, style)]
    return [*lines, "", *summary]


def _summary(summary: Summary, style: Style) -> list[str]:
    """The verdict, and the figures behind it: one line in a file, where `head -1` shows it; on a terminal they go on below."""
    if style.terminal_width is None:
        return [f"{_toned(summary.verdict, summary.tone, style)}  {summary.text}"]
    room = " " * (len(summary.verdict) + 2)
    first, *rest = style.wrapped(summary.text, indent="  ", first_indent=room)
    return [f"{_toned(summary.verdict, summary.tone, style)}  {first.removeprefix(room)}", *rest]


def _section(section: Section, style: Style) -> list[str]:
    """Heading and blocks; a blank line keeps tables apart from their neighbours."""
    lines = _heading(section, style)
    label_width = _label_width(section.blocks)
    for number, block in enumerate(section.blocks):
        if number and any(isinstance(each, Table | SideBySide) for each in section.blocks[number - 1 : number + 1]):
            lines.append("")
        lines += _block(block, style, label_width)
    return lines


def _heading(section: Section, style: Style) -> list[str]:
    """The title in bold, and behind it the remark, wrapped where the line is full."""
    if section.remark is None:
        return [style.bold(section.title)]
    room = " " * (len(section.title) + 2)
    first, *rest = style.wrapped(section.remark.text, indent="  ", first_indent=room)
    remark = [_toned(line, section.remark.tone, style) for line in (first.removeprefix(room), *rest)]
    return [f"{style.bold(section.title)}  {remark[0]}", *remark[1:]]


def _label_width(blocks: Sequence[Block]) -> int:
    """That of the longest label: values of one section stand below each other."""
    facts = [fact.label for block in blocks if isinstance(block, Facts) for fact in block.facts]
    return max(map(len, [*facts, *(block.label for block in blocks if isinstance(block, Series))]), default=0)


def _block(block: Block, style: Style, label_width: int) -> list[str]:
    match block:
        case Prose():
            return [_toned(line, block.tone, style) for line in style.wrapped(block.text)]
        case Facts():
            return [line for fact in block.facts for line in _labelled(fact.label, fact.values, style, label_width)]
        case Series():
            return _labelled(block.label, [f"{point.text} ({point.label})" for point in block.points], style, label_width)
        case Table():
            return _table(block, style)
        case SideBySide():
            return beside(*(TextTable(each).limited().lines() for each in (block.left, block.right)), width=style.width)
        case Findings():
            return [line for item in block.items for line in _finding(item, style)]
        case Traceback():
            return list(_traceback(block, style))


def _toned(text: str, tone: Tone, style: Style) -> str:
    marks = {Tone.MUTED: style.dim, Tone.GOOD: style.green, Tone.BAD: style.red}
    return marks[tone](text) if tone in marks else text


def _labelled(label: str, values: Iterable[str], style: Style, label_width: int) -> list[str]:
    indent = " " * (label_width + 2)
    fits = (unbroken(value) if len(indent) + len(value) < style.width else value for value in values)
    return style.wrapped(", ".join(fits), indent=indent, first_indent=f"{unbroken(label.ljust(label_width))}  ")


def _table(table: Table, style: Style) -> list[str]:
    """A listing in a file is never clipped. Where a page is too narrow for a table, the columns that are left out are named."""
    whole = TextTable(table).limited()
    fitted = whole.fitted(style.listing_width if table.is_listing else style.width)
    missing = dict.fromkeys(column.full_heading for column in table.columns if column not in fitted.columns)
    remark = f"not shown in {style.width} columns: {', '.join(missing)}" if missing else ""
    return [*fitted.lines(), *style.wrapped(table.note), *map(style.dim, style.wrapped(remark))]


def _finding(item: FindingItem, style: Style) -> list[str]:
    marks = {Severity.ERROR: style.red, Severity.WARNING: style.yellow, Severity.NOTE: style.bold}
    on_ranks = f"on {item.ranks}" if item.ranks else ""
    at_places = f"at {', '.join(map(unbroken, item.call_sites))}" if item.call_sites else ""
    heading = "  ".join(filter(None, (item.severity, item.code, on_ranks, at_places)))
    first, *rest = style.wrapped(heading, indent="  ", first_indent="")
    lines = [first.replace(item.severity, marks[item.severity](item.severity), 1), *rest]
    lines += style.wrapped(item.message, indent="  ")
    return [*lines, *style.wrapped(f"hint: {item.hint}", indent="  ")] if item.hint else lines


def _traceback(block: Traceback, style: Style) -> Iterator[str]:
    heading = style.wrapped(f"{block.verdict}  {block.what_happened}")
    if block.lines_end_with_message and len(heading) > _HEADING_LINES:
        heading = [*heading[: _HEADING_LINES - 1], clip_end(" ".join(heading[_HEADING_LINES - 1 :]), style.width)]
    yield from map(style.red, heading)
    yield from (f"  {line}".rstrip() for line in block.lines)
