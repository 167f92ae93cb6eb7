"""Messages beside the report, on stderr, each line prefixed with `fakerun:`; and the properties of the terminal."""

import os
import shutil
import sys
from contextlib import suppress


def say(message: str) -> None:
    """One line to the user. Never fails: the reader of stderr may be gone."""
    with suppress(BrokenPipeError):
        print(f"fakerun: {message}", file=sys.stderr, flush=True)  # noqa: T201  # the one place that prints


def note(message: str) -> None:
    """A line that the user may want to know, and need not act on."""
    say(f"note: {message}")


def stdout_takes_color() -> bool:
    """A terminal, unless the user asked for no colour (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def stdout_width() -> int | None:
    """Columns of the terminal; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
