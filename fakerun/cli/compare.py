"""`fakerun compare`: what differs between two runs of a job, in the words of a person."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from fakerun.cli.destinations import check_output
from fakerun.cli.help import FullHelp
from fakerun.cli.options import Quiet
from fakerun.cli.report_output import option, write_report
from fakerun.cli.terminal import be_quiet, say, stdout_takes_color, stdout_width
from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean

if TYPE_CHECKING:
    from fakerun.report.formats.comparison import RenderComparison
    from fakerun.report.model import ComparedJob


_Format: TypeAlias = Annotated[
    str | None, option("--format", metavar="NAME", help="table, markdown, json.  [default: by FILE, else table]")
]
_Output: TypeAlias = Annotated[Path | None, option("-o", "--output", metavar="FILE", help="Write it to this file, not to stdout.")]


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False)],
    format_: _Format = None,
    output: _Output = None,
    quiet: Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Compare two runs of a job: what each rank communicates and needs. OLD and NEW are run directories, reports in JSON or baselines."""
    from fakerun.report.build_comparison import build_comparison

    be_quiet(quiet)
    if output is not None:
        check_output(output, inputs=(old, new))
    render = _renderer(format_, output)
    comparison = build_comparison(_side(old), _side(new))
    if output is None:
        write_report(render(comparison, color=stdout_takes_color(), width=stdout_width()), None)
    else:
        write_report(render(comparison), output)
        for finding in comparison.findings:
            say(f"{finding.code}: {finding.message}")
    return comparison.exit_code


def _renderer(name: str | None, output: Path | None) -> "RenderComparison":
    """The format that is asked for, else the one that the file is named for.

    Raises:
        UsageError: there is none.
    """
    from fakerun.report.formats.comparison import COMPARISON_FORMATS, EXTENSIONS

    if name is None:
        name = "table" if output is None or not output.suffix else EXTENSIONS.get(output.suffix)
        if name is None:
            raise UsageError(f"output {output}: no format has this ending; known: {', '.join(EXTENSIONS)}; or choose one with --format")
    if name not in COMPARISON_FORMATS:
        raise UsageError(f"unknown format {name!r}{did_you_mean(name, COMPARISON_FORMATS)}; known: {', '.join(COMPARISON_FORMATS)}")
    return COMPARISON_FORMATS[name]


def _side(name: str) -> "ComparedJob":
    """A run directory, a report in JSON, or else a baseline.

    Raises:
        UsageError: it is none of these.
    """
    from fakerun.analysis.baseline.places import Places
    from fakerun.cli.baseline_files import load_baseline
    from fakerun.report.model import ComparedJob
    from fakerun.report.read_report import read_report

    path = Path(name)
    if path.is_dir():
        return _run_side(name, path)
    if path.suffix == ".json":
        return read_report(name, _read(path))
    return ComparedJob(name=name, baseline=load_baseline(path), places=Places())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the file: {error.strerror}") from error


def _run_side(name: str, path: Path) -> "ComparedJob":
    from fakerun.launch import find_run_directory
    from fakerun.report import build_report
    from fakerun.report.build_comparison import compared_job

    directory = find_run_directory(path)
    job = directory.read_job()
    return compared_job(name, build_report(job, directory.read_run(job)))
