"""How a command shows a report: the options for its format and place, and writing it to stdout or a file.

Refuses an impossible file before the run, and never leaves half a report.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from fakerun.cli.terminal import say, stdout_takes_color, stdout_width
from fakerun.errors import UsageError
from fakerun.files import write_whole
from fakerun.spelling import did_you_mean
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.report import Report, ReportFormat
    from fakerun.report.page.detail import Detail

DEFAULT_FORMAT = "table"

option = partial(typer.Option, show_envvar=False)
"""All have variables by the same rule: no need to list them."""


def _complete_format(incomplete: str) -> list[str]:
    from fakerun.report import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


Format: TypeAlias = Annotated[
    str | None,
    option("--format", metavar="NAME", help="table, markdown, json.  [default: by OUTPUT, else table]", autocompletion=_complete_format),
]
Output: TypeAlias = Annotated[Path | None, option("-o", "--output", metavar="FILE", help="Write the report to this file, not to stdout.")]
Trace: TypeAlias = Annotated[bool, option("--trace", help="Also list every collective, in order.")]
Top: TypeAlias = Annotated[
    int | None, option(metavar="N", min=1, max=1_000_000, help="List the N largest tensors at the peak.  [default: 8, JSON: 20]")
]


def detail_of(*, trace: bool, top: int | None) -> "Detail":
    """How much the options ask to be shown."""
    from fakerun.report.page.detail import Detail

    return Detail(trace=trace, tensors=top)


def renderer_for(name: str | None, output: Path | None) -> "ReportFormat":
    """The format that is asked for, else the one that OUTPUT is named for.

    Raises:
        UsageError: there is no such format.
    """
    from fakerun.report import FORMATS

    if name is None:
        extension = output.suffix.removeprefix(".") if output is not None else ""
        return next((each for each in FORMATS.values() if each.extension == extension), FORMATS[DEFAULT_FORMAT])
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}{did_you_mean(name, FORMATS)}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def show_report(report: "Report", report_format: "ReportFormat", output: Path | None, detail: "Detail") -> None:
    """Render the report, to OUTPUT or stdout."""
    if output is None:
        write_report(report_format.render(report, detail=detail, color=stdout_takes_color(), width=stdout_width()), None)
    else:
        write_report(report_format.render(report, detail=detail), output)
        _say_the_worst(report, output)


def _say_the_worst(report: "Report", output: Path) -> None:
    """Say on stderr why the exit code is not 0, so that one need not open the file."""
    for finding in report.findings:
        if finding.severity in report.failing:
            say(f"{finding.code}: {finding.message}")
    if report.failed:
        failed = format_ranks(rank.record.rank for rank in report.failed)
        say(f"rank{'s' * (len(report.failed) > 1)} {failed} failed: see {output}")


def check_output(path: Path) -> None:
    """Refuse a file that could not be written after a run that may take minutes.

    Raises:
        UsageError: a directory, or in a directory that is not there or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output {path}: is a directory; pass a file in it, as in {path / 'report.json'}")
    if path.exists() and not path.is_file():
        return  # a device or a pipe is written to, not replaced
    if not path.parent.is_dir():
        raise UsageError(f"output {path}: no such directory: {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"output {path}: directory {path.parent} is not writable; pass a file in another one")


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
