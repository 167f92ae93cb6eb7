"""Where the report goes: stdout or a file. Refuses an impossible file before the run, and never leaves half a report."""

import os
import sys
from pathlib import Path

from fakerun.errors import UsageError
from fakerun.files import write_whole


def check_output(path: Path) -> None:
    """Refuse a file that could not be written after a run that may take minutes.

    Raises:
        UsageError: a directory, or in a directory that is not there or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output {path} is a directory: name a file in it, as in {path / 'report.json'}")
    if path.exists() and not path.is_file():
        return  # a device or a pipe is written to, not replaced
    if not path.parent.is_dir():
        raise UsageError(f"output {path}: there is no directory {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"output {path}: the directory {path.parent} cannot be written to")


def write_report(content: str | bytes, path: Path | None) -> None:
    """To the file, or to stdout without one. A reader of stdout that has seen enough (`| head`) is no error."""
    data = content.encode() if isinstance(content, str) else content
    if path is not None and path.exists() and not path.is_file():
        path.write_bytes(data)
    elif path is not None:
        write_whole(path, data)
    else:
        _write_stdout(data)


def _write_stdout(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes stdout once more on exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
