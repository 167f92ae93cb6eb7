"""The page as GitHub-flavoured Markdown: for pull requests, step summaries and issues. No width, no colour: no line is clipped.

GitHub refuses what is too long as a whole. Sources of the limits: GitHub Docs, "Adding a job summary" (1 MiB a step); the API's answer to
a comment that is too long ("maximum is 65536 characters"), which are counted as bytes here, to be safe.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fakerun.printable import printable
from fakerun.report.job_report import JobReport, JobResult, whole_report
from fakerun.report.model import Comparison, Report
from fakerun.report.page import page_of
from fakerun.report.page.blocks import Block, Facts, FindingItem, Findings, Page, Prose, Section, Series, SideBySide, Summary, Table, Tone
from fakerun.report.page.blocks import Traceback as TracebackBlock
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.jobs import page_of_jobs

MOST_BYTES_OF_A_SUMMARY = 1024**2
MOST_BYTES_OF_A_COMMENT = 65_536

_GAP = len("\n\n")
_NOT_IN_A_COMMENT = re.compile(r"--+|[<>]|\s+")
"""What would end a comment of HTML, or begin another line."""

_SPECIAL = re.compile(r"[\\`*\[<|~]|(?<!\w)_|_(?!\w)")
_NUMBER_SIGN = re.compile(r"#(?=\d)")
"""GitHub makes a link to an issue of `#5`, unless a comment is in between."""
_INDENT = "&emsp;"
_TONES = {Tone.GOOD: "**{}**", Tone.BAD: "**{}**", Tone.MUTED: "<sub>{}</sub>"}


def render(result: Report | Comparison, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The same page as the text format, with headings, tables and fenced tracebacks."""
    return _joined(list(_parts_of(page_of(result, detail)).all())) + "\n"


def render_summary(jobs: Sequence[JobReport], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The page about all jobs, if there are several, and the pages of the jobs, cut to what GitHub takes as the summary of a step."""
    pages = [_page_of_job(job, detail) for job in jobs]
    return _limited(pages if len(jobs) == 1 else [_page_of_all(jobs), *pages], MOST_BYTES_OF_A_SUMMARY, "the summary of a step")


def render_comment(jobs: Sequence[JobResult], /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The page of the job, or the page about several jobs, cut to what GitHub takes as a comment on a pull request."""
    page = _page_of_job(whole_report(jobs[0]), detail) if len(jobs) == 1 else _page_of_all(jobs)
    return _limited([page], MOST_BYTES_OF_A_COMMENT, "a comment")


def _page_of_job(job: JobReport, detail: Detail) -> "_Parts":
    return _parts_of(page_of(job.report, detail), marker(job.name))


def _page_of_all(jobs: Sequence[JobResult]) -> "_Parts":
    return _parts_of(page_of_jobs(jobs), marker())


def marker(job: str | None = None) -> str:
    """A line that nobody sees, by which a bot finds what it wrote about that job, or about several, to replace it."""
    return "<!-- fakerun -->" if job is None else f"<!-- fakerun:{_NOT_IN_A_COMMENT.sub('_', printable(job))} -->"


# -- limits ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Paragraphs of a page: of its head, which is never left out, and of its sections, each after its heading."""

    head: tuple[str, ...]
    sections: tuple[tuple[str, ...], ...]

    def all(self) -> Iterator[str]:
        yield from self.head
        for section in self.sections:
            yield from section


def _parts_of(page: Page, *before: str) -> _Parts:
    head = (*before, f"# {_escaped(page.title)}", _summary(page.summary), *_blocks([page.facts]))
    return _Parts(head=head, sections=tuple(tuple(_section(section)) for section in page.sections))


def _limited(pages: Sequence[_Parts], most_bytes: int, what: str) -> str:
    text = _joined([part for page in pages for part in page.all()]) + "\n"
    if _size(text) <= most_bytes:
        return text
    note = f"*Cut to the {most_bytes:,} bytes that GitHub takes as {what}. The report in a file has all of it.*"
    room = most_bytes - _size(note) - _GAP - 1
    shown = [_joined(parts) for parts in _parts_within(pages, room) if parts]
    head = "\n\n".join(shown).encode()[:room].decode(errors="ignore")
    return f"{head}\n\n{note}\n"


def _parts_within(pages: Sequence[_Parts], room: int) -> Iterator[list[str]]:
    """For each page its head and what else there is room for: the last sections first, which say what needs attention."""
    room -= sum(_size(part) + _GAP for page in pages for part in page.head)
    for page in pages:
        kept: list[list[str]] = []
        for section in reversed(page.sections):
            heading, *rest = section
            parts: list[str] = []
            for part in rest:
                needed = _size(part) + _GAP + (0 if parts else _size(heading) + _GAP)
                if needed <= room:
                    parts.append(part)
                    room -= needed
            kept.append([heading, *parts] if parts else [])
        yield [*page.head, *(part for section in reversed(kept) for part in section)]


def _size(text: str) -> int:
    return len(text.encode(errors="backslashreplace"))


def _joined(parts: Sequence[str]) -> str:
    return "".join(f"{_gap(before, part)}{part}" for before, part in pairwise(("", *parts)))


# -- the page ----------------------------------------------------------------------------------------------------------------------------


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
