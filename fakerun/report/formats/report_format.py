"""What a format is: a name, a file extension, the kinds of result it takes, and a function from a result to text or bytes."""

from dataclasses import dataclass
from typing import Protocol

from fakerun.report.model import Report


class Render(Protocol):
    """The same report always gives the same text.

    `trace` asks for every collective call as well as sums where the format makes the choice; `color` allows ANSI colours; `width` is
    that of the terminal, None for a file or a pipe. A text ends with a newline.
    """

    def __call__(self, report: Report, /, *, trace: bool = False, color: bool = False, width: int | None = None) -> str | bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """One output format.

    `extension` has no dot; `render` returns bytes if `is_binary`, else str, and takes instances of the classes in `takes`.
    """

    name: str
    extension: str
    is_binary: bool
    takes: tuple[type, ...]
    render: Render
