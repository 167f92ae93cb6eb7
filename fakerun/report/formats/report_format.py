"""What a format is: a name, a file extension, the kinds of result it takes, and a function from a result to text or bytes."""

from dataclasses import dataclass
from typing import Any, Protocol

from fakerun.report.page.detail import SHORT, Detail


class Render(Protocol):
    """The same result, of a class that the format takes, always gives the same text.

    `detail` says how much to show where the format makes the choice; `color` allows ANSI colours; `width` is
    that of the terminal, None for a file or a pipe. A text ends with a newline.
    """

    def __call__(self, result: Any, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str | bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """One output format.

    `extension` has no dot; `render` returns bytes if `is_binary`, else str, and takes instances of the classes in `takes`. A report
    that `needs_history` is built with what the allocators did.
    """

    name: str
    extension: str
    is_binary: bool
    takes: tuple[type, ...]
    render: Render
    needs_history: bool = False
