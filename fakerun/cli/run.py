"""`fakerun run`, the default command: simulate a job, report what one rank communicates and how much memory it needs."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fakerun.cli import torchrun
from fakerun.cli.grammar import either_spelling
from fakerun.cli.progress import Progress
from fakerun.cli.report_output import Format, Output, Trace, check_output, option, renderer_for, show_report
from fakerun.cli.terminal import note, say
from fakerun.errors import UsageError
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, accelerator_names
from fakerun.hardware.request import parse_hardware
from fakerun.job.forbidden import parse_forbidden
from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import RankChoice, parse_ranks
from fakerun.job.request import DEFAULT_STEPS, JobRequest, check_module, check_script
from fakerun.job.routing import DEFAULT_ROUTING, Routing
from fakerun.records.run import FailureKind
from fakerun.units import format_ranks

if TYPE_CHECKING:
    from fakerun.job.spec import JobSpec
    from fakerun.launch import RunDirectory
    from fakerun.report import Report

# `fakerun.launch`, `fakerun.report` and the reader of job files are imported where they are used: `fakerun --help` needs none of them.

JOB_FILE_SUFFIXES = frozenset({".yaml", ".yml"})
"""What makes a SCRIPT a job file."""

_HARDWARE_HELP = (
    f"The accelerator, with figures of your own (h100-80gb,memory=94GiB): {', '.join(accelerator_names())}.  [default: {DEFAULT_HARDWARE}]"
)

_SIZE_OPTIONS = frozenset({"--world-size", "--nnodes", "--nproc-per-node", "--mesh"})


def _whole_number(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,18}", text):
        raise typer.BadParameter(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number of seconds") from error


def _complete_hardware(incomplete: str) -> list[str]:
    return [name for name in accelerator_names() if name.startswith(incomplete)]


def _complete_routing(incomplete: str) -> list[str]:
    return [name for name in Routing if name.startswith(incomplete)]


def run(
    ctx: typer.Context,
    script: Annotated[str | None, typer.Argument(hidden=True)] = None,
    args: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    module: Annotated[bool, option("-m", "--module", help="SCRIPT is the name of a module, as in python -m.")] = False,
    world_size: Annotated[
        int | None, option(parser=_whole_number, metavar="N", help="Number of ranks; up to 8 are put on one node.")
    ] = None,
    nnodes: Annotated[str | None, option(metavar="N", help="Number of nodes.")] = None,
    nproc_per_node: Annotated[str | None, option(metavar="N", help="Number of ranks on each node.")] = None,
    mesh: Annotated[str | None, option(metavar="2x4|dp=2,tp=4", help="Device mesh; alone, it gives the number of ranks.")] = None,
    rank: Annotated[int | None, option(parser=_whole_number, metavar="R", help="The rank to simulate.  [default: 0]")] = None,
    ranks: Annotated[
        str | None, option(metavar="all|auto|0,4-7", help="The ranks to simulate; auto: some that stand for the others.")
    ] = None,
    jobs: Annotated[
        int | None, option("-j", "--jobs", parser=_whole_number, metavar="N", help="Ranks to run at a time.  [default: cores]")
    ] = None,
    steps: Annotated[
        int | None, option(parser=_whole_number, metavar="N", help=f"Optimizer steps to run.  [default: {DEFAULT_STEPS}]")
    ] = None,
    hardware: Annotated[
        str | None,
        option(
            metavar="NAME[,KEY=VALUE]",
            help=_HARDWARE_HELP,
            autocompletion=_complete_hardware,
        ),
    ] = None,
    routing: Annotated[
        str | None,
        option(
            metavar="|".join(Routing),
            help=f"What choices among unknown scores are taken to be: a router's experts.  [default: {DEFAULT_ROUTING}]",
            autocompletion=_complete_routing,
        ),
    ] = None,
    error_on_collective: Annotated[
        str | None,
        option(metavar="[=OPERATIONS]", help="Exit with 1 if any collective, or one of these (all_reduce,send), is issued."),
    ] = None,
    format_: Format = None,
    output: Output = None,
    trace: Trace = False,
    run_dir: Annotated[
        Path | None, option(metavar="DIRECTORY", help="Keep records and output here.  [default: kept only if a rank fails]")
    ] = None,
    resume: Annotated[bool, option("--resume", help="Go on with the run in --run-dir: simulate the ranks that are not done.")] = False,
    timeout: Annotated[float | None, option(parser=_seconds, metavar="SECONDS", help="Stop a rank that takes longer.")] = None,
    show_output: Annotated[bool, option("--show-output", help="Show what the script prints, on stderr.")] = False,
    # What follows is torchrun's.
    standalone: Annotated[bool, option("--standalone", hidden=True)] = False,
    rdzv_backend: torchrun.Value = None,
    rdzv_endpoint: torchrun.Value = None,
    rdzv_id: torchrun.Value = None,
    rdzv_conf: torchrun.Value = None,
    max_restarts: torchrun.Value = None,
    monitor_interval: torchrun.Value = None,
    start_method: torchrun.Value = None,
    event_log_handler: torchrun.Value = None,
    role: torchrun.Value = None,
    no_python: Annotated[bool, option("--no-python", hidden=True)] = False,
    run_path: Annotated[bool, option("--run-path", hidden=True)] = False,
    log_dir: torchrun.Value = None,
    log_line_prefix_template: torchrun.Value = None,
    redirects: Annotated[str | None, option("-r", "--redirects", hidden=True)] = None,
    tee: Annotated[str | None, option("-t", "--tee", hidden=True)] = None,
    local_ranks_filter: torchrun.Value = None,
    duplicate_stdout_filters: torchrun.Value = None,
    duplicate_stderr_filters: torchrun.Value = None,
    node_rank: torchrun.Value = None,
    master_addr: torchrun.Value = None,
    master_port: torchrun.Value = None,
    local_addr: torchrun.Value = None,
    logs_specs: torchrun.Value = None,
    numa_binding: torchrun.Value = None,
    print_completion: torchrun.Value = None,
    signals_to_handle: torchrun.Value = None,
    shutdown_timeout: torchrun.Value = None,
    virtual_local_rank: Annotated[bool, option("--virtual-local-rank", hidden=True)] = False,
) -> int:
    """Simulate a job and report on one rank.

    The options of torchrun are accepted too; those that only matter to a real launch are ignored. Every option can also be given as a
    variable FAKERUN_<OPTION>, torchrun's also as PET_<OPTION>. The command line goes before a job file, and the job file before variables.
    """
    renderer = renderer_for(format_, output)
    if output is not None:
        check_output(output)
    job = _job(ctx)
    torchrun.note_ignored(name for name in ctx.params if _source(ctx, name) != "DEFAULT")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs {jobs} is not possible: it must be at least 1")
    directory = _directory(job, run_dir, resume=resume)
    report = _simulate(job, directory, show_output=show_output, jobs=jobs)
    if run_dir is None and not report.failed:
        directory.discard()
    else:
        say(f"run directory: {directory.path}{_how_to_go_on(report, directory)}")
    show_report(report, renderer, output, trace=trace)
    return report.exit_code


def _how_to_go_on(report: "Report", directory: "RunDirectory") -> str:
    """For a run that was cut off."""
    interrupted = any(rank.record.failure and rank.record.failure.kind is FailureKind.INTERRUPTED for rank in report.failed)
    return f" (to go on: the same command with --run-dir {shlex.quote(str(directory.path))} --resume)" if interrupted else ""


def _directory(job: "JobSpec", run_dir: Path | None, *, resume: bool) -> "RunDirectory":
    from fakerun.launch import open_run_directory, resume_run_directory

    if not resume:
        return open_run_directory(run_dir)
    if run_dir is None:
        raise UsageError("--resume goes on with a run that was kept: name its directory with --run-dir")
    return resume_run_directory(run_dir, job)


def _simulate(job: "JobSpec", directory: "RunDirectory", *, show_output: bool, jobs: int | None) -> "Report":
    from fakerun.launch import run_job
    from fakerun.report import build_report

    say(_summary(job))
    with Progress(has_terminal=not show_output) as progress:
        run = run_job(job, directory, show_output=show_output, jobs=jobs, watcher=progress)
    return build_report(job, run)


def _summary(job: "JobSpec") -> str:
    """One line: what is simulated."""
    nodes = f"{job.nnodes} {'node' if job.nnodes == 1 else 'nodes'} x {job.nproc_per_node}"
    mesh = f", mesh {job.mesh}" if job.mesh is not None else ""
    ranks = "representatives" if job.auto_ranks else f"rank{'s' * (len(job.ranks) > 1)} {format_ranks(job.ranks)}"
    return f"simulating {ranks} of {job.world_size} ({nodes}){mesh} on {job.hardware}"


def _job(ctx: typer.Context) -> "JobSpec":
    """The job from all sources, in their order: command line, job file, variables, defaults."""
    if ctx.params["no_python"]:
        raise UsageError("--no-python is not supported: only Python programs can be simulated")
    if not ctx.allow_interspersed_args:  # an option came first
        _note_misplaced(ctx.params["args"] or ())
    request = _program(ctx.params["script"], ctx.params["args"] or (), is_module=ctx.params["module"])
    return _given(ctx, "COMMANDLINE").over(request).over(_given(ctx, "ENVIRONMENT")).resolve()


def _program(script: str | None, args: Sequence[str], *, is_module: bool) -> JobRequest:
    """What SCRIPT and its arguments ask for: a script, a module, or all that a job file says."""
    if script is None:
        raise UsageError("no script is given: fakerun SCRIPT --world-size N, or fakerun --help")
    if is_module:
        check_module(script)
        return JobRequest(module=script, args=tuple(args))
    path = Path(script)
    if path.suffix in JOB_FILE_SUFFIXES:
        from fakerun.job.yaml_job import load_job

        return JobRequest(args=tuple(args)).over(load_job(path))
    check_script(path)
    return JobRequest(script=path, args=tuple(args))


def _given(ctx: typer.Context, source: Literal["COMMANDLINE", "ENVIRONMENT"]) -> JobRequest:
    """What the options say that came from that source."""

    def given(name: str) -> Any:
        return ctx.params[name] if _source(ctx, name) == source else None

    nnodes, nproc_per_node, mesh = given("nnodes"), given("nproc_per_node"), given("mesh")
    forbidden = given("error_on_collective")
    return JobRequest(
        world_size=given("world_size"),
        nnodes=None if nnodes is None else torchrun.node_count(nnodes),
        nproc_per_node=None if nproc_per_node is None else torchrun.process_count(nproc_per_node),
        mesh=None if mesh is None else parse_mesh(mesh),
        hardware=None if given("hardware") is None else parse_hardware(given("hardware")),
        steps=given("steps"),
        ranks=_ranks(given("rank"), given("ranks")),
        routing=given("routing"),
        error_on_collective=None if forbidden is None else parse_forbidden(forbidden),
        timeout_s=given("timeout"),
    )


def _ranks(rank: int | None, ranks: str | None) -> RankChoice | None:
    if rank is not None and ranks is not None:
        raise UsageError(f"--rank {rank} and --ranks {ranks} are both given: keep one of them")
    if ranks is not None:
        return parse_ranks(ranks)
    return None if rank is None else RankChoice.of([rank])


def _source(ctx: typer.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    return source.name if source is not None else "DEFAULT"


def _note_misplaced(args: Sequence[str]) -> None:
    """The usual reason for a wrong number of ranks: in torchrun's grammar, what stands after the script is the script's."""
    found = [arg for arg in args if either_spelling(arg.partition("=")[0]) in _SIZE_OPTIONS]
    if found:
        note(f"{found[0]} goes to the script, because an option came first: to give it to fakerun, put it before the script")
