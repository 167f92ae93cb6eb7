"""The page as text for a terminal, a file or a pipe: wrapped and fitted to a width, with ANSI colours where they are allowed."""

from fakerun.report.formats.text.blocks import page_lines
from fakerun.report.formats.text.style import Style
from fakerun.report.model import Comparison, Report
from fakerun.report.page import page_of
from fakerun.report.page.detail import SHORT, Detail


def render(result: Report | Comparison, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The page in at most `width` columns; without a width in `FILE_WIDTH`, and a listing of calls in as many as it needs."""
    return "\n".join(page_lines(page_of(result, detail), Style(color=color, terminal_width=width))) + "\n"
