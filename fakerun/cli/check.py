"""`fakerun check`: run the jobs of a file and hold each against what it must keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakerun.cli import options
from fakerun.cli.changes import changed_files
from fakerun.cli.destinations import check_not_inputs, check_takes_several, destinations
from fakerun.cli.gate import Ignore, MaxMemory, Strict, gate_of
from fakerun.cli.help import FullHelp
from fakerun.cli.job_outcomes import cache_beside, outcomes_of
from fakerun.cli.report_output import Format, Output, Top, Trace, detail_of, needs_history, option, show_reports, write_report
from fakerun.cli.repository import job_report
from fakerun.cli.sources import JOB_FILE_SUFFIXES, options_over, warn_of_unknown_variables
from fakerun.cli.terminal import be_quiet, say, tell
from fakerun.errors import ExitCode, UsageError, worst
from fakerun.job.request import JobRequest
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.analysis.baseline.baseline import Baseline
    from fakerun.cli.job_outcomes import JobOutcome
    from fakerun.job.budgets import Budgets
    from fakerun.job.check_file import CheckJob
    from fakerun.job.spec import JobSpec
    from fakerun.launch.result_cache import ResultCache
    from fakerun.report import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job of the file, complete."""

    asked: "CheckJob"
    spec: "JobSpec"

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
    no_cache: Annotated[bool, option("--no-cache", help="Simulate all jobs, also those of which nothing changed.")] = False,
    changed_since: Annotated[
        str | None, option(metavar="REVISION", help="Run only jobs whose files changed since this revision in git.")
    ] = None,
    update_baseline: Annotated[
        bool, option("--update-baseline", help="Write the baseline of each job anew, instead of holding it against it.")
    ] = False,
    format_: Format = None,
    output: Output = None,
    trace: Trace = False,
    top: Top = None,
    exit_zero: Annotated[bool, option("--exit-zero", help="Exit with 0 where jobs only fail what they must hold (exit code 1).")] = False,
    quiet: options.Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Run the jobs of fakerun.yaml, or of FILE, and hold each against its budgets; all of them, or those that are named.

    Every option can also be given as a variable FAKERUN_<OPTION>. Options go before variables, and variables before the file.
    """
    be_quiet(quiet)
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    file, words = _file_and_jobs(names or [])
    outputs = destinations(format_, output, inputs=(file,))
    budgets = gate_of(max_memory, ignore, strict=strict)
    planned = _planned(ctx, _selected(file, words))
    if list_:
        write_report("".join(f"{_described(job)}\n" for job in planned), None)
        return ExitCode.OK
    check_not_inputs(outputs, (job.spec.script_file for job in planned))
    check_takes_several(outputs, len(planned))
    baselines = {} if update_baseline else _baselines(planned)
    cache = cache_beside(file)
    if changed_since is not None and not (planned := _affected(planned, changed_since, file, cache)):
        return ExitCode.OK
    outcomes = outcomes_of({job.name: job.spec for job in planned}, None if no_cache else cache, jobs_at_a_time=jobs)
    reports = _reports(planned, outcomes, budgets, baselines, with_history=needs_history(outputs))
    if update_baseline:
        _write_baselines(planned, reports)
    show_reports(reports, outputs, detail_of(trace=trace, top=top))
    code = worst(each.report.exit_code for each in reports)
    return ExitCode.OK if exit_zero and code is ExitCode.FINDINGS else code


def _file_and_jobs(words: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """The job file, which is the first word if that is named as one, and the names of jobs."""
    from fakerun.job.discovery import find_job_file

    if words and words[0].endswith(JOB_FILE_SUFFIXES):
        return Path(words[0]), words[1:]
    return find_job_file(Path.cwd()), words


def _selected(file: Path, names: Sequence[str]) -> "Sequence[CheckJob]":
    from fakerun.job.check_file import load_jobs, select_jobs

    return select_jobs(load_jobs(file), names, file=file)


def _planned(ctx: typer.Context, jobs: "Sequence[CheckJob]") -> "Sequence[PlannedJob]":
    """The jobs, complete.

    Raises:
        UsageError: some are not, or contradict the options; all of them are said.
    """
    warn_of_unknown_variables(ctx)
    of_options = options_over(ctx, JobRequest())
    planned, problems = [], []
    for job in jobs:
        try:
            spec = of_options.over(job.request).resolve()
        except UsageError as error:
            problems.append(f"{job.source}: job {job.name}: {error}")
            continue
        planned.append(PlannedJob(asked=job, spec=spec))
    if problems:
        raise UsageError("\n".join(problems))
    return planned


def _described(job: PlannedJob) -> str:
    """A line of `--list`."""
    spec = job.spec
    ranks = "auto" if spec.auto_ranks else format_ranks(spec.ranks)
    mesh = f", mesh {spec.mesh}" if spec.mesh is not None else ""
    return f"{job.name}  {' '.join((spec.program, *spec.args))}  (ranks {ranks} of {spec.world_size}{mesh}, {spec.hardware})"


def _affected(jobs: Sequence[PlannedJob], since: str, file: Path, cache: "ResultCache") -> Sequence[PlannedJob]:
    """The jobs that a change since the revision can affect: all if the job file changed, else those that read a file that did, or of
    which it is not known what they read.
    """
    changed = changed_files(since, file.absolute().parent)
    if file.resolve() in changed:
        return jobs
    affected = [job for job in jobs if (read := cache.files(job.name)) is None or not changed.isdisjoint(_with_script(read, job.spec))]
    if left_out := [job.name for job in jobs if job not in affected]:
        tell(f"no file of {len(left_out)} of {len(jobs)} jobs changed since {since}; left out: {', '.join(left_out)}")
    return affected


def _with_script(files: frozenset[Path], spec: "JobSpec") -> set[Path]:
    return {path.resolve() for path in (*files, *([spec.script_file] if spec.script_file is not None else []))}


def _baselines(jobs: Sequence[PlannedJob]) -> "Mapping[str, Baseline]":
    """The baselines that there are, by job.

    Raises:
        UsageError: one is wrong, or is named by its job and not there; all of them are said.
    """
    from fakerun.cli.baseline_files import load_baseline

    baselines, problems = {}, []
    for job in jobs:
        path = job.asked.baseline
        if not path.exists():
            if job.asked.is_baseline_named:
                problems.append(f"{job.asked.source}: job {job.name}: baseline {path} is not there; write it with --update-baseline")
            continue
        try:
            baselines[job.name] = load_baseline(path)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return baselines


def _write_baselines(jobs: Sequence[PlannedJob], reports: "Sequence[JobReport]") -> None:
    """Write the baseline of each job that ran as it should; say of which it was not written, and why."""
    from fakerun.cli.baseline_files import write_baseline
    from fakerun.report.build_baseline import baseline_of

    for job, of_job in zip(jobs, reports, strict=True):
        path = job.asked.baseline
        if of_job.report.failed or of_job.report.blocked:
            say(f"baseline of {job.name}: not written, because the run did not end as it should")
        elif write_baseline(path, baseline_of(of_job.report)):
            say(f"baseline of {job.name}: {path} is written")
        else:
            tell(f"baseline of {job.name}: {path} is unchanged")


def _reports(
    jobs: Sequence[PlannedJob],
    outcomes: "Mapping[str, JobOutcome]",
    budgets: "Budgets",
    baselines: "Mapping[str, Baseline]",
    *,
    with_history: bool,
) -> "Sequence[JobReport]":
    """The report of each job, in their order, held against its baseline, its budgets and over them those of the command line.

    Where a run is kept that failed is said; another that is in no cache goes.
    """
    from fakerun.report import build_report
    from fakerun.report.build_comparison import held_against_baseline

    reports = []
    for job in jobs:
        outcome = outcomes[job.name]
        report = build_report(job.spec, outcome.record, budgets, with_history=with_history)
        if (baseline := baselines.get(job.name)) is not None and not report.failed:
            of_job, source = budgets.over(job.spec.budgets), str(job.asked.baseline)
            report = held_against_baseline(report, baseline, job.asked.tolerances, of_job, source=source)
        reports.append(job_report(report, name=job.name))
        if report.exit_code is not ExitCode.OK:
            say(f"run directory of {job.name}: {outcome.directory.path}")
        elif not outcome.is_kept:
            outcome.directory.discard()
    return reports
