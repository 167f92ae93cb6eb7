"""`fakerun run`, the default command: simulate a job, report what its ranks communicate and how much memory they need."""

import errno
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fakerun.cli import options
from fakerun.cli.destinations import check_not_inputs, destinations
from fakerun.cli.gate import Ignore, MaxMemory, Strict, gate_of
from fakerun.cli.help import FullHelp
from fakerun.cli.progress import Progress
from fakerun.cli.report_output import Format, Output, Top, Trace, detail_of, needs_history, needs_timeline, show_reports, write_report
from fakerun.cli.repository import job_report
from fakerun.cli.sources import resolved_job
from fakerun.cli.terminal import be_quiet, say, tell
from fakerun.cli.torchrun import accepting_ignored_options
from fakerun.errors import HostMemoryError, OutputError, UsageError
from fakerun.records.run import FailureKind
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.job.spec import JobSpec
    from fakerun.launch import RunDirectory
    from fakerun.records.run import RunRecord
    from fakerun.report import Report

# `fakerun.launch` and `fakerun.report` are imported where they are used: `fakerun --help` needs neither.


@accepting_ignored_options
def run(
    ctx: typer.Context,
    script: options.Script = None,
    args: options.Args = None,
    module: options.Module = False,
    world_size: options.WorldSize = None,
    nnodes: options.Nnodes = None,
    nproc_per_node: options.NprocPerNode = None,
    mesh: options.Mesh = None,
    rank: options.Rank = None,
    ranks: options.Ranks = None,
    samples: options.Samples = None,
    seed: options.Seed = None,
    jobs: options.Jobs = None,
    steps: options.Steps = None,
    hardware: options.Hardware = None,
    routing: options.RoutingName = None,
    launcher: options.LauncherName = None,
    alloc_conf: options.AllocConf = None,
    oom: options.Oom = None,
    torch_behaviour: options.TorchBehaviourName = None,
    interconnect: options.InterconnectName = None,
    tokens_per_step: options.TokensPerStep = None,
    calibrate: options.Calibrate = None,
    error_on_collective: options.ErrorOnCollective = None,
    max_memory: MaxMemory = None,
    strict: Strict = False,
    ignore: Ignore = None,
    format_: Format = None,
    output: Output = None,
    trace: Trace = False,
    top: Top = None,
    run_dir: options.RunDirectoryPath = None,
    resume: options.Resume = False,
    timeout: options.Timeout = None,
    show_output: options.ShowOutput = False,
    quiet: options.Quiet = False,
    no_python: options.NoPython = False,
    help_all: FullHelp = False,
) -> int:
    """Simulate a job and report on its ranks.

    torchrun's options are accepted too; those that only matter to a real launch are ignored. Every option can also be given as a variable
    FAKERUN_<OPTION>, torchrun's also as PET_<OPTION>. The command line goes before variables, and variables go before a job file.
    """
    from fakerun.report import build_report

    be_quiet(quiet)
    outputs = destinations(format_, output, inputs=(script,))
    gate = gate_of(max_memory, ignore, strict=strict)
    job = resolved_job(ctx)
    check_not_inputs(outputs, (job.script_file,))
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    with _directory(job, run_dir, resume=resume) as directory, _kept_if_of_use(directory, is_temporary=run_dir is None):
        simulated = _simulate(job, directory, show_output=show_output, jobs=jobs)
        report = build_report(job, simulated, gate, with_history=needs_history(outputs), with_timeline=needs_timeline(outputs))
        if not output and format_ is None and (help_ := _help_of_script(report, directory)):
            write_report(help_, None)
        else:
            show_reports([job_report(report)], outputs, detail_of(trace=trace, top=top))
        if run_dir is None and not report.failed:
            directory.discard()
        else:
            say(f"run directory: {directory.path}{_how_to_continue(report, directory)}")
    return report.exit_code


@contextmanager
def _kept_if_of_use(directory: "RunDirectory", *, is_temporary: bool) -> Iterator[None]:
    """Where the run ends without a report: a temporary directory goes if nothing can be made of it, otherwise the user learns its name."""
    try:
        yield
    except (KeyboardInterrupt, HostMemoryError):
        if is_temporary:
            directory.discard()
        raise
    except OutputError as error:
        raise OutputError(f"{error}; the run is kept: fakerun report {shlex.quote(str(directory.path))}") from error
    except OSError as error:
        if error.filename is None:
            raise
        way_out = "raise the limit (ulimit -f)" if error.errno == errno.EFBIG else "free some space, or pass another directory to --run-dir"
        raise OutputError(f"run directory {directory.path}: {error.strerror}; {way_out}, and remove this one") from error
    except Exception as error:
        error.add_note(f"the run directory is {directory.path}")
        raise


def _help_of_script(report: "Report", directory: "RunDirectory") -> bytes | None:
    """What a script prints that is asked for its help, which is then what the user wants to see."""
    if report.failed or {"-h", "--help"}.isdisjoint(report.job.args):
        return None
    record = report.ranks[0].record
    return None if record.steps or record.collectives else directory.rank(record.rank).stdout.read_bytes()


def _how_to_continue(report: "Report", directory: "RunDirectory") -> str:
    """For a run that was interrupted."""
    is_interrupted = any(rank.record.failure and rank.record.failure.kind is FailureKind.INTERRUPTED for rank in report.failed)
    return f" (to continue: the same command with --run-dir {shlex.quote(str(directory.path))} --resume)" if is_interrupted else ""


def _directory(job: "JobSpec", run_dir: Path | None, *, resume: bool) -> "RunDirectory":
    from fakerun.launch import open_run_directory, resume_run_directory

    if not resume:
        return open_run_directory(run_dir)
    if run_dir is None:
        raise UsageError("--resume: no run to continue; pass its directory with --run-dir")
    return resume_run_directory(run_dir, job)


def _simulate(job: "JobSpec", directory: "RunDirectory", *, show_output: bool, jobs: int | None) -> "RunRecord":
    from fakerun.launch import run_job

    tell(_summary(job))
    with Progress(has_terminal=not show_output, is_open_ended=job.auto_ranks) as progress:
        return run_job(job, directory, show_output=show_output, jobs=jobs, watcher=progress)


def _summary(job: "JobSpec") -> str:
    """One line: what is simulated."""
    nodes = f"{job.nnodes} {'node' if job.nnodes == 1 else 'nodes'} x {job.nproc_per_node}"
    mesh = f", mesh {job.mesh}" if job.mesh is not None else ""
    ranks = "representatives" if job.auto_ranks else f"rank{'s' * (len(job.ranks) > 1)} {format_ranks(job.ranks)}"
    return f"simulating {ranks} of {job.world_size} ({nodes}){mesh} on {job.hardware}"
