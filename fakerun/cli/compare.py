"""`fakerun compare`: what differs between two runs of a job, in the words of a person."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakerun.cli.help import FullHelp
from fakerun.cli.options import Quiet
from fakerun.cli.report_output import Format, Output, check_output, detail_of, renderer_for, show_report
from fakerun.cli.terminal import be_quiet
from fakerun.errors import UsageError

if TYPE_CHECKING:
    from fakerun.report.model import ComparedJob


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False)],
    format_: Format = None,
    output: Output = None,
    quiet: Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Compare two runs of a job: what each rank communicates and needs. OLD and NEW are run directories, reports in JSON or baselines."""
    from fakerun.report.build_comparison import build_comparison
    from fakerun.report.model import Comparison

    be_quiet(quiet)
    if output is not None:
        check_output(output, inputs=(old, new))
    report_format = renderer_for(format_, output)
    if Comparison not in report_format.takes:
        raise UsageError(f"format {report_format.name} cannot show a comparison; use table, markdown or json")
    comparison = build_comparison(_side(old), _side(new))
    show_report(comparison, report_format, output, detail_of(trace=False, top=None))
    return comparison.exit_code


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
