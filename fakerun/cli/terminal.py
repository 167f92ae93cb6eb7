"""Messages beside the report, on stderr, each line prefixed with `fakerun:`; the standard streams; and the properties of the terminal."""

import os
import shutil
import sys
from typing import TextIO

from fakerun.printable import printable

_is_quiet = False


def be_quiet(wanted: bool) -> None:
    """Whether to leave out what the user may want to know and need not act on."""
    global _is_quiet
    _is_quiet = wanted


def say(message: str) -> None:
    """One line to the user. Never fails: stderr may be closed or full, or its reader gone."""
    if sys.stderr is None:  # closed; print() would take stdout
        return
    try:
        print(f"fakerun: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201  # the one place that prints
    except OSError:
        give_up(sys.stderr)


def tell(message: str) -> None:
    """What fakerun is doing: a line that --quiet leaves out."""
    if not _is_quiet:
        say(message)


def note(message: str) -> None:
    """A line that the user may want to know, and need not act on."""
    tell(f"note: {message}")


def warn(message: str) -> None:
    """A line about what is probably a mistake."""
    say(f"warning: {message}")


def occupy_closed_streams() -> None:
    """Give descriptors 0 to 2 that are closed to /dev/null: the next file that is opened would get them, and what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def give_up(stream: TextIO) -> None:
    """Nothing can be written to the stream any more; Python flushes it once more on exit, and would complain and end with 120."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def stdout_takes_color() -> bool:
    """A terminal, unless the user asked for no colour (no-color.org)."""
    return stdout_is_terminal() and not os.environ.get("NO_COLOR")


def stdout_width() -> int | None:
    """Columns of the terminal; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if stdout_is_terminal() else None


def stderr_is_terminal() -> bool:
    """Whether a person may look on; stderr may be closed."""
    return sys.stderr is not None and sys.stderr.isatty()


def stdout_is_terminal() -> bool:
    """Whether a person reads what is written there; it may be closed."""
    return sys.stdout is not None and sys.stdout.isatty()
