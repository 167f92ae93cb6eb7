"""`fakerun check`: run the jobs of a file and hold each against what it must keep."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakerun.cli import options
from fakerun.cli.changes import changed_files
from fakerun.cli.destinations import check_not_inputs, check_takes_several, destinations
from fakerun.cli.gate import Ignore, MaxMemory, Strict, gate_of
from fakerun.cli.help import FullHelp
from fakerun.cli.job_outcomes import JobOutcome, KnownOutcome, cache_beside, outcomes_of
from fakerun.cli.judge import Judge, PlannedJob
from fakerun.cli.report_output import (
    Format,
    Output,
    Top,
    Trace,
    detail_of,
    needs_history,
    needs_reports,
    needs_timeline,
    option,
    show_reports,
    write_report,
)
from fakerun.cli.sources import JOB_FILE_SUFFIXES, options_over, warn_of_unknown_variables
from fakerun.cli.terminal import be_quiet, say, tell
from fakerun.errors import ExitCode, UsageError, worst
from fakerun.job.request import JobRequest
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.job.check_file import CheckJob
    from fakerun.launch.result_cache import ResultCache
    from fakerun.report.job_report import JobResult


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
    exit_first: Annotated[
        bool, option("-x", "--exitfirst", help="Run the jobs one after the other, in their order, and stop at the first that fails.")
    ] = False,
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
    if not update_baseline:
        planned = _with_baselines(planned)
    cache = cache_beside(file)
    if changed_since is not None and not (planned := _affected(planned, changed_since, file, cache)):
        return ExitCode.OK
    judge = Judge(
        jobs={job.name: job for job in planned},
        budgets=budgets,
        needs_reports=update_baseline or needs_reports(outputs, 1 if exit_first else len(planned)),
        with_history=needs_history(outputs),
        with_timeline=needs_timeline(outputs),
    )
    specs = {job.name: job.spec for job in planned}
    outcomes = outcomes_of(specs, None if no_cache else cache, judge.known_result, jobs_at_a_time=jobs, one_by_one=exit_first)
    results = _results(judge, outcomes, until_one_fails=exit_first)
    if update_baseline:
        _write_baselines(judge.jobs, results)
    show_reports(results, outputs, detail_of(trace=trace, top=top))
    _tell_of_drift(results, file if len(words) < len(names or []) else None)
    code = worst(each.report.exit_code for each in results)
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
    """The jobs that a change since the revision can affect: all if the job file changed, else those that name or read a file that did, or
    of which it is not known what they read.
    """
    changed = changed_files(since, file.absolute().parent)
    if file.resolve() in changed:
        return jobs
    affected = [job for job in jobs if not changed.isdisjoint(_own_files(job)) or cache.depends_on(job.name, changed) is not False]
    if left_out := [job.name for job in jobs if job not in affected]:
        tell(f"no file of {len(left_out)} of {len(jobs)} jobs changed since {since}; left out: {', '.join(left_out)}")
    return affected


def _own_files(job: PlannedJob) -> set[Path]:
    """The files that the job itself names."""
    script = () if job.spec.script_file is None else (job.spec.script_file,)
    return {Path(each).resolve() for each in (*script, job.asked.baseline, *job.spec.timing.calibration.files)}


def _with_baselines(jobs: Sequence[PlannedJob]) -> Sequence[PlannedJob]:
    """The jobs with the baselines that there are.

    Raises:
        UsageError: one is wrong, or is named by its job and not there; all of them are said.
    """
    from fakerun.cli.baseline_files import load_baseline

    found, problems = [], []
    for job in jobs:
        path = job.asked.baseline
        if not os.path.lexists(path):  # a link to nothing is an error, not "no baseline"
            if job.asked.is_baseline_named:
                problems.append(f"{job.asked.source}: job {job.name}: baseline {path} is not there; write it with --update-baseline")
            found.append(job)
            continue
        try:
            found.append(replace(job, baseline=load_baseline(path)))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return found


def _results(judge: Judge, outcomes: "Iterable[tuple[str, JobOutcome | KnownOutcome]]", *, until_one_fails: bool) -> "Sequence[JobResult]":
    """The results of the jobs, in the order of the file; with `until_one_fails` up to the first that fails.

    Where a run is kept that failed is said; another that is in no cache goes.
    """
    results: dict[str, JobResult] = {}
    failed: dict[str, Path] = {}
    for name, outcome in outcomes:
        results[name] = judge.result(name, outcome)
        if results[name].report.exit_code is not ExitCode.OK:
            failed[name] = outcome.directory.path
            if until_one_fails:
                break
        elif isinstance(outcome, JobOutcome) and outcome.kept is None:
            outcome.directory.discard()
    for name in filter(failed.__contains__, judge.jobs):
        say(f"run directory of {name}: {failed[name]}")
    if left_out := [name for name in judge.jobs if name not in results]:
        tell(f"stopped at the first job that fails: {len(left_out)} of {len(judge.jobs)} not run: {', '.join(left_out)}")
    return [results[name] for name in judge.jobs if name in results]


def _tell_of_drift(results: "Iterable[JobResult]", file: Path | None) -> None:
    """The command that takes over what jobs do now, where they fail their baselines."""
    from fakerun.records.finding_code import FindingCode

    drifted = [each.name for each in results if any(finding.code is FindingCode.BASELINE_DRIFT for finding in each.report.findings)]
    if drifted:
        words = ["fakerun", "check", *([str(file)] if file else []), *drifted, "--update-baseline"]
        tell(f"what differs from the baseline may be meant; then: {shlex.join(words)}")


def _write_baselines(jobs: Mapping[str, PlannedJob], results: "Iterable[JobResult]") -> None:
    """Write the baseline of each job that ran as it should; say of which it was not written, and why."""
    from fakerun.cli.baseline_files import write_baseline
    from fakerun.report.build_baseline import baseline_of
    from fakerun.report.job_report import whole_report

    for of_job in map(whole_report, results):
        path = jobs[of_job.name].asked.baseline
        if of_job.report.failed or of_job.report.blocked:
            say(f"baseline of {of_job.name}: not written, because the run did not end as it should")
        elif write_baseline(path, baseline_of(of_job.report)):
            say(f"baseline of {of_job.name}: {path} is written")
        else:
            tell(f"baseline of {of_job.name}: {path} is unchanged")
