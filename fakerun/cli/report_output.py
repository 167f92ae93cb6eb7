"""How a command shows reports: the options for their format and place, and writing them to stdout or files. Never leaves half a report."""

import sys
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from fakerun.cli.destinations import Destination, Destinations
from fakerun.cli.terminal import give_up, say, stdout_takes_color, stdout_width
from fakerun.errors import OutputError
from fakerun.files import write_whole
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakerun.report.formats.report_format import Content
    from fakerun.report.job_report import JobResult
    from fakerun.report.page.detail import Detail

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
        help="The format of OUTPUT, or of stdout: table, json, markdown, comment, junit, sarif, github, gitlab, csv, jsonl, svg, "
        "memory_snapshot, trace, timeline.  [default: by OUTPUT, else table]",
        autocompletion=_complete_format,
    ),
]
Output: TypeAlias = Annotated[
    list[str] | None,
    option(
        "-o",
        "--output",
        metavar="FILE|FORMAT[=FILE]",
        help="Write the report to this file, or in this format to stdout; repeat it for several: junit=report.xml.",
        autocompletion=_complete_format,
    ),
]
Trace: TypeAlias = Annotated[bool, option("--trace", help="Also list every collective, in order.")]
Top: TypeAlias = Annotated[
    int | None, option(metavar="N", min=1, max=1_000_000, help="List the N largest tensors at the peak.  [default: 8, JSON: 20]")
]


def detail_of(*, trace: bool, top: int | None) -> "Detail":
    """How much the options ask to be shown."""
    from fakerun.report.page.detail import Detail

    return Detail(trace=trace, tensors=top)


def needs_history(destinations: Destinations) -> bool:
    """Whether one of the formats shows what the allocators did."""
    return any(each.report_format.needs_history for each in destinations)


def needs_reports(destinations: Destinations, number_of_jobs: int) -> bool:
    """Whether one of the formats shows more of so many jobs than their results."""
    return any(each.report_format.needs_reports(number_of_jobs) for each in destinations)


def needs_timeline(destinations: Destinations) -> bool:
    """Whether one of the formats shows the streams of a step."""
    return any(each.report_format.needs_timeline for each in destinations)


def show_reports(jobs: "Sequence[JobResult]", destinations: Destinations, detail: "Detail") -> None:
    """Render the reports, to files and stdout. Where one cannot be written, the others are.

    Raises:
        OutputError: some cannot be written.
    """
    problems = []
    for each in destinations:
        try:
            _write(jobs, each, detail)
        except OutputError as error:
            problems.append(str(error))
    if problems:
        raise OutputError("\n".join(problems))
    files = [each.path for each in destinations if each.path is not None]
    if len(files) == len(destinations):
        for job in jobs:
            _say_the_worst(job, files[0])


def _write(jobs: "Sequence[JobResult]", destination: Destination, detail: "Detail") -> None:
    render_files, path = destination.report_format.render_files, destination.path
    if path is None or render_files is None or not destination.is_directory:
        write_report(_rendered(jobs, destination, detail), path)
        return
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError.of(error, f"output {path}", "pass another directory") from error
    for name, content in render_files(jobs):
        write_report(content, path / name)


def _rendered(jobs: "Sequence[JobResult]", destination: Destination, detail: "Detail") -> "Content":
    render = destination.report_format.render
    if destination.path is not None:
        return render(jobs, detail=detail)
    return render(jobs, detail=detail, color=stdout_takes_color(), width=stdout_width())


def _say_the_worst(job: "JobResult", output: Path) -> None:
    """Say on stderr why the exit code is not 0, so that one need not open the file."""
    from fakerun.report.result import fails

    report = job.report
    for finding in report.findings:
        if fails(report, finding):
            say(f"{finding.code}: {finding.message}")
    if failed := report.failed_ranks:
        say(f"rank{'s' * (len(failed) > 1)} {format_ranks(failed)} failed: see {output}")


def write_report(content: "Content", path: Path | None) -> None:
    """To the file, or to stdout without one. A reader of stdout that has seen enough (`| head`) is no error.

    A file whose name ends with `.gz` is compressed.

    Raises:
        OutputError: it cannot be written.
    """
    pieces = _encoded(content)
    if path is None:
        _write_stdout(pieces)
        return
    if path.suffix == ".gz":
        pieces = _compressed(pieces)
    try:
        if path.exists() and (not path.is_file() or path.is_symlink()):
            with path.open("wb") as file:
                file.writelines(pieces)
        else:
            write_whole(path, pieces)
    except OSError as error:
        raise OutputError.of(error, f"output {path}", "pass a file on a disk with room to -o") from error


def _encoded(content: "Content") -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    for piece in [content] if isinstance(content, str) else content:
        yield piece.encode(errors="backslashreplace")


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """In gzip's format, without a name and a time: equal contents make equal files."""
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _write_stdout(pieces: Iterator[bytes]) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed: the report cannot be written; pass a file to -o")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
    except OSError as error:
        give_up(sys.stdout)
        raise OutputError.of(error, "standard output", "the report cannot be written; pass a file on a disk with room to -o") from error
