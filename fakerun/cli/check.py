"""`fakerun check`: run the jobs of a file and hold each against what it must keep."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakerun.cli import options
from fakerun.cli.gate import Ignore, MaxMemory, Strict, gate_of
from fakerun.cli.help import FullHelp
from fakerun.cli.progress import JobsProgress
from fakerun.cli.report_output import option, write_report
from fakerun.cli.sources import JOB_FILE_SUFFIXES, options_over, warn_of_unknown_variables
from fakerun.cli.terminal import be_quiet, say, stdout_takes_color, stdout_width
from fakerun.errors import ExitCode, UsageError
from fakerun.job.request import JobRequest
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.analysis.gate import Gate
    from fakerun.job.check_file import CheckJob
    from fakerun.job.spec import JobSpec
    from fakerun.launch import RunDirectory
    from fakerun.records.run import RunRecord
    from fakerun.report import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job of the file, complete, with what the options of the command line add to what it must hold."""

    asked: "CheckJob"
    spec: "JobSpec"
    gate: "Gate"

    @property
    def name(self) -> str:
        return self.asked.name


def check(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[FILE] [JOB ...]", show_default=False)] = None,
    list_: Annotated[bool, option("--list", help="List the jobs and exit.")] = False,
    steps: options.Steps = None,
    hardware: options.Hardware = None,
    alloc_conf: options.AllocConf = None,
    torch_behaviour: options.TorchBehaviourName = None,
    timeout: options.Timeout = None,
    max_memory: MaxMemory = None,
    strict: Strict = False,
    ignore: Ignore = None,
    jobs: options.Jobs = None,
    exit_zero: Annotated[bool, option("--exit-zero", help="Exit with 0 where jobs only fail what they must hold (exit code 1).")] = False,
    quiet: options.Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Run the jobs of fakerun.yaml, or of FILE, and hold each against its budgets; all of them, or those that are named.

    Every option can also be given as a variable FAKERUN_<OPTION>. Options go before variables, and variables before the file.
    """
    from fakerun.analysis.outcome import worst
    from fakerun.report.formats.text import render_jobs

    be_quiet(quiet)
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    planned = _planned(ctx, _selected(names or []), max_memory=max_memory, ignore=ignore, strict=strict)
    if list_:
        write_report("".join(f"{_described(job)}\n" for job in planned), None)
        return ExitCode.OK
    reports = _checked(planned, jobs_at_a_time=jobs)
    write_report(render_jobs(reports, color=stdout_takes_color(), width=stdout_width()), None)
    code = worst(each.report.exit_code for each in reports)
    return ExitCode.OK if exit_zero and code is ExitCode.FINDINGS else code


def _selected(words: Sequence[str]) -> "Sequence[CheckJob]":
    """The jobs that the words of the command line name: a file, if the first one is named as such, then jobs."""
    from fakerun.job.check_file import load_jobs, select_jobs
    from fakerun.job.discovery import find_job_file

    is_file = bool(words) and words[0].endswith(JOB_FILE_SUFFIXES)
    file = Path(words[0]) if is_file else find_job_file(Path.cwd())
    return select_jobs(load_jobs(file), words[1:] if is_file else words, file=file)


def _planned(
    ctx: typer.Context, jobs: "Sequence[CheckJob]", *, max_memory: str | None, ignore: list[str] | None, strict: bool
) -> "Sequence[PlannedJob]":
    """The jobs, complete.

    Raises:
        UsageError: some are not, or contradict the options; all of them are said.
    """
    warn_of_unknown_variables(ctx)
    asked = gate_of(max_memory, ignore, strict=strict)
    of_options = options_over(ctx, JobRequest())
    planned, problems = [], []
    for job in jobs:
        try:
            spec = of_options.over(job.request).resolve()
        except UsageError as error:
            problems.append(f"{job.source}: job {job.name}: {error}")
            continue
        gate = type(asked)(max_memory=asked.max_memory, ignored=asked.ignored | job.ignored, strict=strict or job.strict)
        planned.append(PlannedJob(asked=job, spec=spec, gate=gate))
    if problems:
        raise UsageError("\n".join(problems))
    return planned


def _described(job: PlannedJob) -> str:
    """A line of `--list`."""
    spec = job.spec
    ranks = "auto" if spec.auto_ranks else format_ranks(spec.ranks)
    mesh = f", mesh {spec.mesh}" if spec.mesh is not None else ""
    return f"{job.name}  {' '.join((spec.program, *spec.args))}  (ranks {ranks} of {spec.world_size}{mesh}, {spec.hardware})"


def _checked(jobs: "Sequence[PlannedJob]", *, jobs_at_a_time: int | None) -> "Sequence[JobReport]":
    """The report of each job, in their order. What was kept of jobs that failed is said."""
    from fakerun.launch import open_run_directory
    from fakerun.report import JobReport, build_report

    with ExitStack() as stack:
        directories = {job.name: stack.enter_context(open_run_directory(None)) for job in jobs}
        runs = _simulated(jobs, directories, jobs_at_a_time=jobs_at_a_time)
        reports = [JobReport(name=job.name, report=build_report(job.spec, runs[job.name], job.gate)) for job in jobs]
        for each in reports:
            directory = directories[each.name]
            if each.report.exit_code is ExitCode.OK:
                directory.discard()
            else:
                say(f"run directory of {each.name}: {directory.path}")
    return reports


def _simulated(
    jobs: "Iterable[PlannedJob]", directories: "dict[str, RunDirectory]", *, jobs_at_a_time: int | None
) -> "dict[str, RunRecord]":
    """Run the jobs side by side on one server, those that take longest first: a long one that starts last is waited for alone."""
    from fakerun.launch import JobRun, RankServer, run_jobs

    ordered = sorted(jobs, key=lambda job: _size(job.spec), reverse=True)
    with RankServer() as server, JobsProgress(len(ordered)) as progress:
        runs = [JobRun(job.spec, directories[job.name], watcher=progress.of(job.name)) for job in ordered]
        records = run_jobs(runs, server, jobs=jobs_at_a_time)
    return {job.name: record for job, record in zip(ordered, records, strict=True)}


def _size(spec: "JobSpec") -> tuple[int, int]:
    """How long a job may take, before anything is known of it: by its ranks, then by its world."""
    return len(spec.ranks) or MOST_OF_AUTO, spec.world_size


MOST_OF_AUTO = 16
"""Ranks that `--ranks auto` simulates of a large job, about."""
