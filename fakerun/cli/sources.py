"""The sources of a job, merged: the command line goes before variables, and variables go before the job file."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from fakerun.cli import torchrun
from fakerun.cli.grammar import either_spelling
from fakerun.cli.terminal import note, warn
from fakerun.errors import UsageError
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration
from fakerun.hardware.request import parse_hardware
from fakerun.job.forbidden import parse_forbidden
from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import RankChoice, parse_ranks
from fakerun.job.request import JobRequest, check_module, check_script
from fakerun.job.spec import JobSpec
from fakerun.job.steps import parse_steps
from fakerun.job.timing import Timing, checked_interconnect, parse_tokens
from fakerun.spelling import did_you_mean

if TYPE_CHECKING:
    from fakerun.job.check_file import CheckJob

JOB_FILE_SUFFIXES = (".yaml", ".yml", ".toml")
"""What makes a SCRIPT a job file."""

_VARIABLE_PREFIX = "FAKERUN_"

_SIZE_OPTIONS = frozenset({"--world-size", "--nnodes", "--nproc-per-node", "--mesh"})


def resolved_job(ctx: typer.Context) -> JobSpec:
    """The job that is asked for, complete. A script alone, without any size, is one rank.

    Raises:
        UsageError: one of the sources is wrong.
    """
    warn_of_unknown_variables(ctx)
    return _with_default_size(job_request(ctx), ctx).resolve()


def _with_default_size(request: JobRequest, ctx: typer.Context) -> JobRequest:
    """One rank where nothing was said of sizes or ranks; who names ranks, or devices that are to be counted, expects several."""
    sizes = request.world_size, request.nnodes, request.nproc_per_node, request.mesh, request.ranks
    is_described = job_file_of(ctx.params["script"]) is not None and not ctx.params["module"]
    if is_described or any(each is not None for each in sizes) or _source(ctx, "nproc_per_node") != "DEFAULT":
        return request
    note("no number of ranks is given: simulating 1; pass --world-size N for more")
    return replace(request, world_size=1)


def warn_of_unknown_variables(ctx: typer.Context) -> None:
    """Warn of variables that are named as options and that no option has."""
    parameters = ctx.command.params
    known = {name for parameter in parameters for name in parameter.envvar or ()}
    options = [option for parameter in parameters for option in parameter.opts if option.startswith("--")]
    for name in sorted(os.environ):
        if name.startswith(_VARIABLE_PREFIX) and name not in known:
            option = f"--{name.removeprefix(_VARIABLE_PREFIX).lower().replace('_', '-')}"
            warn(f"variable {name} has no effect: there is no option {option}{did_you_mean(option, options)}")


def job_request(ctx: typer.Context) -> JobRequest:
    """What is asked of a command whose parameters are those of `cli.options`. Notes what the user should know of its options.

    Raises:
        UsageError: one of the sources is wrong.
    """
    if ctx.params["no_python"]:
        raise UsageError("--no-python is not supported: only Python programs can be simulated")
    if not ctx.allow_interspersed_args:  # an option came first
        _note_misplaced(ctx.params["args"] or ())
    program = _program(ctx.params["script"], ctx.params["args"] or (), is_module=ctx.params["module"])
    request = options_over(ctx, program)
    torchrun.note_ignored(name for name in ctx.params if _source(ctx, name) != "DEFAULT")
    return request


def _program(script: str | None, args: Sequence[str], *, is_module: bool) -> JobRequest:
    """What SCRIPT and its arguments ask for: a script, a module, or all that a job file says."""
    if script is None:
        raise UsageError("no script given: run fakerun SCRIPT --world-size N, or see fakerun --help")
    if is_module:
        check_module(script)
        return JobRequest(module=script, args=tuple(args))
    if (described := job_file_of(script)) is not None:
        return JobRequest(args=tuple(args)).over(_job_of_file(*described).request)
    path = Path(script)
    check_script(path)
    return JobRequest(script=path, args=tuple(args))


def job_file_of(script: str) -> tuple[Path, str | None] | None:
    """The job file that SCRIPT is, and the job of it that is meant: `fakerun.yaml#train`. None for another SCRIPT."""
    file, separator, job = script.partition("#")
    return (Path(file), job if separator else None) if file.endswith(JOB_FILE_SUFFIXES) else None


def _job_of_file(file: Path, name: str | None) -> "CheckJob":
    """The job that is meant.

    Raises:
        UsageError: the file is wrong, or has several jobs and none or several of them are meant.
    """
    from fakerun.job.check_file import load_jobs, select_jobs  # pydantic and yaml: `fakerun --help` needs neither

    jobs = load_jobs(file)
    selected = select_jobs(jobs, [] if name is None else [name], file=file)
    if len(selected) > 1:
        names = ", ".join(job.name for job in selected)
        example = shlex.quote(f"{file}#{selected[0].name}")
        raise UsageError(f"{file}: describes several jobs: {names}; run one, as in fakerun {example}, or check all: fakerun check {file}")
    return selected[0]


def options_over(ctx: typer.Context, program: JobRequest) -> JobRequest:
    """What the options of a command say of a job, over `program`: the command line goes first, then variables."""
    return _options(ctx, "COMMANDLINE").over(_options(ctx, "ENVIRONMENT")).over(program)


def _options(ctx: typer.Context, source: Literal["COMMANDLINE", "ENVIRONMENT"]) -> JobRequest:
    """What the options say that came from that source; a command may have only some of them."""

    def given(name: str) -> Any:
        return ctx.params.get(name) if _source(ctx, name) == source else None

    nnodes, nproc_per_node, mesh = given("nnodes"), given("nproc_per_node"), given("mesh")
    hardware, forbidden, steps = given("hardware"), given("error_on_collective"), given("steps")
    tokens, calibrate = given("tokens_per_step"), given("calibrate")
    return JobRequest(
        world_size=given("world_size"),
        nnodes=None if nnodes is None else torchrun.node_count(nnodes),
        nproc_per_node=None if nproc_per_node is None else torchrun.process_count(nproc_per_node),
        mesh=None if mesh is None else parse_mesh(mesh),
        hardware=None if hardware is None else parse_hardware(hardware),
        steps=None if steps is None else parse_steps(steps),
        ranks=_ranks(given("rank"), given("ranks")),
        samples=given("samples"),
        seed=given("seed"),
        routing=given("routing"),
        launcher=given("launcher"),
        alloc_conf=given("alloc_conf"),
        oom=given("oom"),
        torch_behaviour=given("torch_behaviour"),
        interconnect=given("interconnect"),
        tokens_per_step=None if tokens is None else parse_tokens(tokens),
        calibration=None if calibrate is None else calibration_of(calibrate),
        error_on_collective=None if forbidden is None else parse_forbidden(forbidden),
        error_on_collective_source=None if forbidden is None else "--error-on-collective",
        timeout_s=given("timeout"),
    )


def timing_of(interconnect: str | None, tokens_per_step: int | None, calibrate: Sequence[str] | None) -> Timing:
    """What these options of a command say that reads a run which was kept.

    Raises:
        UsageError: one of them is wrong.
    """
    return Timing(
        interconnect=None if interconnect is None else checked_interconnect(interconnect),
        tokens_per_step=None if tokens_per_step is None else parse_tokens(tokens_per_step),
        calibration=NO_CALIBRATION if calibrate is None else calibration_of(calibrate),
    )


def calibration_of(files: Sequence[str]) -> Calibration:
    """What the files of `--calibrate` say.

    Raises:
        UsageError: one of them is wrong.
    """
    from fakerun.job.calibration_file import read_calibrations  # yaml: `fakerun --help` does not need it

    return read_calibrations(list(map(Path, files)))


def _ranks(rank: int | None, ranks: str | None) -> RankChoice | None:
    if rank is not None and ranks is not None:
        raise UsageError(f"--rank {rank} and --ranks {ranks}: pass only one of them")
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
        note(f"{found[0]} comes after the script, so it is passed to the script; put it before the script to pass it to fakerun")
