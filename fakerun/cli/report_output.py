"""How a command shows a report: the options for its format and place, and writing it to stdout or a file.

Refuses an impossible file before the run, and never leaves half a report.
"""

import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from fakerun.cli.terminal import give_up, say, stdout_is_terminal, stdout_takes_color, stdout_width
from fakerun.errors import OutputError, UsageError
from fakerun.files import write_whole
from fakerun.spelling import did_you_mean
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.report import Comparison, Report, ReportFormat
    from fakerun.report.page.detail import Detail

DEFAULT_FORMAT = "table"

_DEVICES = Path("/dev")

option = partial(typer.Option, show_envvar=False)
"""All have variables by the same rule: no need to list them."""


def _complete_format(incomplete: str) -> list[str]:
    from fakerun.report import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


Format: TypeAlias = Annotated[
    str | None,
    option(
        "--format",
        metavar="NAME",
        help="table, markdown, json, svg, memory_snapshot.  [default: by OUTPUT, else table]",
        autocompletion=_complete_format,
    ),
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
        UsageError: there is no such format, or none with such an ending; or it is a binary one, and would go to a terminal.
    """
    from fakerun.report import FORMATS

    if name is None:
        return _format_of(output) if output is not None and output.suffix else FORMATS[DEFAULT_FORMAT]
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}{did_you_mean(name, FORMATS)}; known: {', '.join(FORMATS)}")
    report_format = FORMATS[name]
    if report_format.is_binary and _is_terminal(output):
        example = f"-o {report_format.name}.{report_format.extension}"
        raise UsageError(f"format {name} is binary and is not written to a terminal; write it to a file, as in {example}")
    return report_format


def _is_terminal(output: Path | None) -> bool:
    """Whether OUTPUT, or stdout without it, is one."""
    if output is None or not output.is_char_device():
        return output is None and stdout_is_terminal()
    try:
        with output.open("wb", buffering=0) as device:
            return device.isatty()
    except OSError:  # what is wrong with it is said where the report is written
        return False


def _format_of(output: Path) -> "ReportFormat":
    """The format whose files end as this one does."""
    from fakerun.report import FORMATS

    by_extension = {each.extension: each for each in FORMATS.values()}
    extension = output.suffix.removeprefix(".")
    if extension not in by_extension:
        known = ", ".join(f".{each}" for each in by_extension)
        raise UsageError(f"output {output}: no format has the ending .{extension}; known: {known}; or choose one with --format")
    return by_extension[extension]


def show_report(report: "Report | Comparison", report_format: "ReportFormat", output: Path | None, detail: "Detail") -> None:
    """Render the report, to OUTPUT or stdout."""
    if output is None:
        write_report(report_format.render(report, detail=detail, color=stdout_takes_color(), width=stdout_width()), None)
    else:
        write_report(report_format.render(report, detail=detail), output)
        _say_the_worst(report, output)


def _say_the_worst(report: "Report | Comparison", output: Path) -> None:
    """Say on stderr why the exit code is not 0, so that one need not open the file."""
    from fakerun.report import Comparison

    for finding in report.findings:
        if isinstance(report, Comparison) or finding.severity in report.failing:
            say(f"{finding.code}: {finding.message}")
    if isinstance(report, Comparison):
        return
    if report.failed:
        failed = format_ranks(rank.record.rank for rank in report.failed)
        say(f"rank{'s' * (len(report.failed) > 1)} {failed} failed: see {output}")


def check_output(path: Path, *, inputs: Iterable[Path | str | None] = ()) -> None:
    """Refuse a file that could not be written after a run that may take minutes, or must not be: one of `inputs`, or a link.

    Raises:
        UsageError: an input, a link, a directory, or in a directory that is not there or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output {path}: is a directory; pass a file in it, as in {path / 'report.json'}")
    if path.exists() and not path.is_file():
        return  # a device or a pipe is written to, not replaced
    if any(each is not None and _are_one_file(path, Path(each)) for each in inputs):
        raise UsageError(f"output {path}: is the script or the job file, which the report would replace; pass another file")
    if path.is_symlink() and _DEVICES not in path.parents:  # but /dev/stdout
        raise UsageError(f"output {path}: is a symbolic link, which the report would replace; pass the file it leads to: {path.resolve()}")
    if not path.parent.is_dir():
        raise UsageError(f"output {path}: no such directory: {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"output {path}: directory {path.parent} is not writable; pass a file in another one")


def _are_one_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return False


def write_report(content: str | bytes, path: Path | None) -> None:
    """To the file, or to stdout without one. A reader of stdout that has seen enough (`| head`) is no error.

    Raises:
        OutputError: it cannot be written.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    if path is None:
        _write_stdout(data)
        return
    try:
        if path.exists() and (not path.is_file() or path.is_symlink()):
            path.write_bytes(data)
        else:
            write_whole(path, data)
    except OSError as error:
        raise OutputError.of(error, f"output {path}", "pass a file on a disk with room to -o") from error


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed: the report cannot be written; pass a file to -o")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
    except OSError as error:
        give_up(sys.stdout)
        raise OutputError.of(error, "standard output", "the report cannot be written; pass a file on a disk with room to -o") from error
