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
from fakerun.job.tolerances import DEFAULT_TOLERANCES, Tolerances
from fakerun.spelling import did_you_mean

if TYPE_CHECKING:
    from fakerun.job.check_file import CheckJob
    from fakerun.report.formats.comparison import RenderComparison
    from fakerun.report.model import ComparedJob


_SUFFIXES = (".json", ".yaml", ".yml")
"""Of files: a name that ends with one of them is no job's."""

_Format: TypeAlias = Annotated[
    str | None, option("--format", metavar="NAME", help="table, markdown, json.  [default: by FILE, else table]")
]
_Output: TypeAlias = Annotated[Path | None, option("-o", "--output", metavar="FILE", help="Write it to this file, not to stdout.")]


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str | None, typer.Argument(metavar="[NEW]", show_default=False)] = None,
    format_: _Format = None,
    output: _Output = None,
    quiet: Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Compare two runs of a job: what each rank communicates and needs.

    OLD and NEW are run directories, reports in JSON, baselines, or jobs of fakerun.yaml, of which the run is taken that fakerun check kept.
    A job alone is compared with its baseline.
    """
    from fakerun.report.build_comparison import build_comparison

    be_quiet(quiet)
    if output is not None:
        check_output(output, inputs=(old, new))
    render = _renderer(format_, output)
    comparison = build_comparison(*_sides(old, new))
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


def _sides(old: str, new: str | None) -> "tuple[ComparedJob, ComparedJob, Tolerances]":
    """Both sides, and how far they may be apart.

    Raises:
        UsageError: one of them is nothing that can be compared.
    """
    if new is not None:
        return _side(old), _side(new), DEFAULT_TOLERANCES
    if _is_path(old):
        raise UsageError(f"{old}: pass what to compare it with, too; only a job is compared with its baseline when it is alone")
    file, job = _job_named(old)
    if not job.baseline.exists():
        raise UsageError(f"job {job.name}: has no baseline {job.baseline} yet; write it with: fakerun check {job.name} --update-baseline")
    return _baseline_side(f"baseline of {job.name}", job.baseline), _kept_side(job, file, named=f"run of {job.name}"), job.tolerances


def _is_path(name: str) -> bool:
    return Path(name).exists() or "/" in name or Path(name).suffix in _SUFFIXES


def _job_named(name: str) -> "tuple[Path, CheckJob]":
    """The job of that name, and its file, which is found from the current directory.

    Raises:
        UsageError: there is none, or several have the name.
    """
    from fakerun.job.check_file import load_jobs, select_jobs
    from fakerun.job.discovery import find_job_file

    try:
        file = find_job_file(Path.cwd())
    except UsageError as error:
        raise UsageError(f"{name}: no such file or directory, and {error}") from error
    jobs = select_jobs(load_jobs(file), [name], file=file)
    if len(jobs) > 1:
        raise UsageError(f"{name}: is {len(jobs)} jobs of {file}; name one of them: {', '.join(job.name for job in jobs[:3])}")
    return file, jobs[0]


def _kept_side(job: "CheckJob", file: Path, *, named: str) -> "ComparedJob":
    """The run that `fakerun check` kept last.

    Raises:
        UsageError: there is none, or this fakerun cannot read it.
    """
    from fakerun.cli.job_outcomes import cache_beside

    directory = cache_beside(file).newest(job.name)
    if directory is None:
        raise UsageError(f"job {job.name}: no run of it is kept; run it with: fakerun check {job.name}")
    return _run_side(named, directory.path)


def _baseline_side(name: str, path: Path) -> "ComparedJob":
    from fakerun.analysis.baseline.places import Places
    from fakerun.cli.baseline_files import load_baseline
    from fakerun.report.model import ComparedJob

    return ComparedJob(name=name, baseline=load_baseline(path), places=Places())


def _side(name: str) -> "ComparedJob":
    """A run directory, a report in JSON, a baseline, or else a job.

    Raises:
        UsageError: it is none of these.
    """
    if not _is_path(name):
        file, job = _job_named(name)
        return _kept_side(job, file, named=name)
    from fakerun.report.read_report import read_report

    path = Path(name)
    if path.is_dir():
        return _run_side(name, path)
    if path.suffix == ".json":
        return read_report(name, _read(path))
    return _baseline_side(name, path)


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
