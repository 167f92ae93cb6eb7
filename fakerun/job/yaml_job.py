"""The schema of job files in YAML, and JobRequest from one. All of it is checked before anything runs; all errors are reported at once.

Paths in a job file are relative to the file's own directory, so that it can be used from any directory; a script that is not there
is looked up in the current directory, as torchrun does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import FIGURES
from fakerun.hardware.calibration import Calibration
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.request import BASE, check_figure_key, hardware_with, parse_hardware
from fakerun.job.alloc_conf import checked_alloc_conf
from fakerun.job.baseline import BaselineOfJob, baseline_of_job
from fakerun.job.budgets import Budgets, CodeBudget, Required
from fakerun.job.budgets_file import BudgetsFile, budgets_of
from fakerun.job.calibration_file import read_calibrations
from fakerun.job.document import MOST_PROBLEMS, JobSource, Key
from fakerun.job.forbidden import EVERY_OPERATION, operations_named, parse_forbidden
from fakerun.job.launcher import launcher_named
from fakerun.job.mesh import mesh_from_axes, parse_mesh
from fakerun.job.out_of_memory import out_of_memory_named
from fakerun.job.ranks import RankChoice, parse_ranks
from fakerun.job.request import JobRequest, check_module, check_script, check_workdir
from fakerun.job.routing import routing_named
from fakerun.job.steps import ALL_STEPS, AllSteps
from fakerun.job.timing import checked_interconnect, parse_tokens
from fakerun.job.tolerances import DEFAULT_TOLERANCES, Tolerances
from fakerun.job.torch_behaviour import torch_behaviour_named
from fakerun.job.validation import NOT_KEYS, message_of, shown, valid_if, with_own_message
from fakerun.job.variable import check_value
from fakerun.job.world import resolve_world, total_ranks
from fakerun.job.yaml_document import YamlDocument
from fakerun.records.collective import CollectiveOp
from fakerun.records.finding_code import FindingCode, codes_named

if TYPE_CHECKING:
    from fakerun.hardware.accelerator import Accelerator
    from fakerun.job.mesh import MeshSpec


def _text_or_number(value: object) -> object:
    if isinstance(value, dict | list):
        raise UsageError(f"must be a string or a number, not {shown(value)}")
    if isinstance(value, str) and "\0" in value:
        raise UsageError("must not contain a null byte: no argument or variable can")
    return value


def _variable_value(value: object) -> object:
    return check_value(value) if isinstance(value, str) else value


def _variable_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise UsageError("is not the name of an environment variable")
    return name


def _mesh_text(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"must be sizes (2x4), named sizes (dp=2,tp=4) or a mapping from axis to size, not {shown(value)}")
    return str(value)


def _hardware_text(value: object) -> object:
    if not isinstance(value, str):
        raise UsageError(f"must be a name (h200) or a mapping ({{base: h100-80gb, memory: 94GiB}}), not {shown(value)}")
    return value


def _ranks(value: object) -> RankChoice:
    """`all`, `0,4-7`, a number, or a list of numbers and ranges."""
    parts = value if isinstance(value, list) else [value]
    if not parts or not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
        raise UsageError(f"must be all, or numbers and ranges (0,4-7), not {shown(value)}")
    return parse_ranks(",".join(map(str, parts)))


def _steps(value: object) -> int | AllSteps:
    if value == ALL_STEPS:
        return ALL_STEPS
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"must be a whole number or all, not {shown(value)}")
    if value < 1:
        raise UsageError(f"must be at least 1, or all, not {value}")
    return value


def _torch_behaviour(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | float | int):
        raise UsageError(f"must be a version (2.6), not {shown(value)}")
    return torch_behaviour_named(str(value))


def _files(value: object) -> tuple[str, ...]:
    """The path of a file, or a list of them."""
    paths = value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise UsageError(f"must be the path of a file, or a list of them, not {shown(value)}")
    return tuple(paths)


def _mapping_or_text(value: object) -> str:
    return "<map>" if isinstance(value, dict) else "<text>"


def _forbidden(value: object) -> tuple[CollectiveOp, ...]:
    """`true` for all operations, or a list of names, or the names as text."""
    if isinstance(value, bool):
        return EVERY_OPERATION if value else ()
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return operations_named(value)
    if not isinstance(value, str):
        raise UsageError(f"must be true, or a list of operations (all_reduce, send), not {shown(value)}")
    return parse_forbidden(value)


def _codes(value: object) -> frozenset[FindingCode]:
    """Names of findings, as a list or as text."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return codes_named(value)
    if not isinstance(value, str):
        raise UsageError(f"must be a list of codes of findings (tight-fit), not {shown(value)}")
    return codes_named(value.replace(",", " ").split())


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"must be a number of seconds, not {shown(value)}")
    if not 0 < value < inf:
        raise UsageError(f"must be a finite number of seconds above 0, not {value}")
    return float(value)


Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Scalar = Annotated[object, valid_if(_text_or_number)]
VariableName = Annotated[str, valid_if(_variable_name)]
MeshMap = Annotated[dict[str, Count], valid_if(mesh_from_axes), Tag("<map>")]
MeshText = Annotated[str, BeforeValidator(with_own_message(_mesh_text)), valid_if(parse_mesh), Tag("<text>")]

HardwareMap = Annotated[dict[str, Scalar], Tag("<map>")]
HardwareText = Annotated[str, BeforeValidator(with_own_message(_hardware_text)), Tag("<text>")]


COMMAND_LINE_ONLY = frozenset(
    {
        *("jobs", "run_dir", "resume", "show_output", "quiet", "no_python"),
        *("format", "output", "trace", "top", "max_memory"),
    }
)
"""Options about running a job and reading its report: how it is done, not what the job is."""


class JobFile(BaseModel):
    """The keys of a job file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    script: Text | None = None
    module: Text | None = None
    args: list[Scalar] = []
    env: dict[VariableName, Annotated[Scalar, valid_if(_variable_value)]] = {}
    world_size: Count | None = None
    nnodes: Count | None = None
    nproc_per_node: Count | None = None
    mesh: Annotated[MeshMap | MeshText, Discriminator(_mapping_or_text)] | None = None
    hardware: Annotated[HardwareMap | HardwareText, Discriminator(_mapping_or_text)] | None = None
    steps: Annotated[object, valid_if(_steps)] | None = None
    routing: Annotated[str, valid_if(routing_named)] | None = None
    launcher: Annotated[str, valid_if(launcher_named)] | None = None
    alloc_conf: Annotated[str, valid_if(checked_alloc_conf)] | None = None
    oom: Annotated[str, valid_if(out_of_memory_named)] | None = None
    torch_behaviour: Annotated[object, valid_if(_torch_behaviour)] | None = None
    interconnect: Annotated[str, valid_if(checked_interconnect)] | None = None
    tokens_per_step: Annotated[object, valid_if(parse_tokens)] | None = None
    calibrate: Annotated[object, valid_if(_files)] | None = None
    error_on_collective: Annotated[object, valid_if(_forbidden)] | None = None
    rank: Annotated[int, Field(ge=0)] | None = None
    ranks: Annotated[object, valid_if(_ranks)] | None = None
    samples: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    workdir: Text | None = None
    timeout: Annotated[object, valid_if(_seconds)] | None = None
    budgets: BudgetsFile | None = None
    strict: bool = False
    ignore: Annotated[object, valid_if(_codes)] = frozenset()
    baseline: Annotated[object, valid_if(baseline_of_job)] | None = None


class JobOfSeveral(JobFile):
    """The keys of a job in a file of several."""

    matrix: object = None
    """What it is expanded over (`job.matrix`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileJob:
    """A job as a file describes it: what to run, and what it must hold to pass.

    `baseline` is the file that its schedule and memory are held against, as far as the job names one, within `tolerances`; the other
    limits are the request's budgets. `source` is where it is described, as in `fakerun.yaml:12`.
    """

    request: JobRequest
    source: str
    baseline: Path | None = None
    tolerances: Tolerances = DEFAULT_TOLERANCES


def load_job(path: Path) -> JobRequest:
    """Read the request of a job file.

    Raises:
        UsageError: every error in the file, a line each: `file:line: key: what is wrong, what is allowed`.
    """
    document = YamlDocument(path)
    job = read_job(document)
    document.raise_problems()
    assert job is not None, "no job, and no problem either"
    return job.request


def read_job(source: JobSource, model: type[JobFile] = JobFile, *, workdir: Path | None = None) -> FileJob | None:
    """The job that a source describes; None if it is wrong: its errors are noted then. `workdir` is where its ranks start by default."""
    job = validated(source, model)
    hardware = None if job is None else _hardware(job, source)
    if job is None or (job.hardware is not None and hardware is None):
        return None
    request = _request(job, source, hardware, workdir)
    with _noting(source, "calibrate"):
        request = replace(request, calibration=_calibration(job, source))
    if job.rank is not None and job.ranks is not None:
        source.refuse(("ranks",), f"rank is also given (line {source.line(('rank',))}); keep one of them")
    _check_together(request, source)
    baseline = cast("BaselineOfJob | None", job.baseline) or BaselineOfJob()
    return FileJob(
        request=request,
        source=f"{source.file}:{source.line(())}",
        baseline=None if baseline.path is None else source.file.parent / baseline.path,
        tolerances=baseline.tolerances,
    )


def validated(source: JobSource, model: type[JobFile]) -> JobFile | None:
    """The keys of a job; None if one is wrong: the errors are noted in the source."""
    try:
        return model.model_validate(source.value)
    except ValidationError as errors:
        found = errors.errors(include_url=False)
        source.count_more_problems(len(found[MOST_PROBLEMS:]))
        for error in found[:MOST_PROBLEMS]:
            path = tuple(key for key in error["loc"] if key not in NOT_KEYS)
            if not source.is_refused(path):
                source.refuse(path, _command_line_only(path) or message_of(error, path, model, what="a job file"))
        return None


def _command_line_only(path: tuple[Key, ...]) -> str:
    """Why a key is refused that is an option of the command line; empty for others."""
    option = str(path[0]) if len(path) == 1 else ""
    return f"is an option of the command line only: pass --{option.replace('_', '-')}" if option in COMMAND_LINE_ONLY else ""


def _hardware(job: JobFile, document: JobSource) -> "Accelerator | None":
    """The accelerator that the file requests; errors are noted in the document."""
    if isinstance(job.hardware, str):
        with _noting(document, "hardware"):
            return parse_hardware(job.hardware)
    if isinstance(job.hardware, dict):
        return _hardware_of_mapping({key: str(value) for key, value in job.hardware.items()}, document)
    return None


def _hardware_of_mapping(texts: dict[str, str], document: JobSource) -> "Accelerator | None":
    """The accelerator named by `base`, with the figures that replace its own."""
    if BASE not in texts:
        document.refuse(("hardware",), f"{BASE} is missing: name the accelerator whose figures are replaced")
        return None
    base = texts.pop(BASE)
    with _noting(document, "hardware", BASE):
        hardware_named(base)
    for key, text in texts.items():
        with _noting(document, "hardware", key):
            check_figure_key(key)
            FIGURES[key].parse(text)
    is_wrong = any(document.is_refused(("hardware", key)) for key in (BASE, *texts))
    return None if is_wrong else hardware_with(base, texts)


def _request(job: JobFile, document: JobSource, hardware: "Accelerator | None", workdir: Path | None) -> JobRequest:
    """The request; arguments and variables are passed on as they are written: `1.50` is not 1.5."""
    return JobRequest(
        script=None if job.script is None else _script_path(document.file.parent, job.script),
        module=job.module,
        args=tuple(document.text(("args", index)) for index in range(len(job.args))),
        env={name: document.text(("env", name)) for name in job.env},
        world_size=job.world_size,
        nnodes=job.nnodes,
        nproc_per_node=job.nproc_per_node,
        mesh=cast("MeshSpec | None", job.mesh),  # what the validators of both forms return
        hardware=hardware,
        steps=cast("int | AllSteps | None", job.steps),
        ranks=RankChoice.of([job.rank]) if job.rank is not None else cast("RankChoice | None", job.ranks),
        samples=job.samples,
        seed=job.seed,
        routing=job.routing,
        launcher=job.launcher,
        alloc_conf=job.alloc_conf,
        oom=job.oom,
        torch_behaviour=None if job.torch_behaviour is None else document.text(("torch_behaviour",)),
        interconnect=job.interconnect,
        tokens_per_step=cast("int | None", job.tokens_per_step),
        error_on_collective=cast("tuple[CollectiveOp, ...] | None", job.error_on_collective),
        error_on_collective_source=None if job.error_on_collective is None else _where(document, "error_on_collective"),
        budgets=_budgets(job, document),
        timeout_s=cast("float | None", job.timeout),
        workdir=workdir if job.workdir is None else document.file.parent / job.workdir,
    )


def _calibration(job: JobFile, document: JobSource) -> Calibration | None:
    """What the files say that the job names.

    Raises:
        UsageError: one of them is wrong.
    """
    files = cast("tuple[str, ...] | None", job.calibrate)
    return None if files is None else read_calibrations([document.file.parent / file for file in files])


def _budgets(job: JobFile, document: JobSource) -> Budgets | None:
    """What the job must keep: its `budgets`, under `strict` and `ignore`; None where it says nothing."""
    ignored = sorted(cast("frozenset[FindingCode]", job.ignore))
    gate = Budgets(
        strict=Required(source=_where(document, "strict")) if job.strict else None,
        allowed=tuple(CodeBudget(code=code, source=_where(document, "ignore")) for code in ignored),
    )
    if job.budgets is None:
        return None if gate == Budgets() else gate
    return gate.over(budgets_of(job.budgets, lambda path: _where(document, "budgets", *path)))


def _where(document: JobSource, *path: Key) -> str:
    return f"{document.file}:{document.line(path)}"


def _script_path(directory: Path, script: str) -> Path:
    """The path of the script in its shortest form: `scripts/train.py`, not `configs/../scripts/train.py`."""
    beside = directory / script
    if not beside.exists():
        return Path(script) if Path(script).exists() else beside
    short = Path(os.path.normpath(beside))
    same = short.exists() and short.samefile(beside)  # not where `..` leaves a directory that is a link
    return short if same else beside


def _check_together(request: JobRequest, document: JobSource) -> None:
    """Note contradictions between keys, and scripts or modules that do not exist."""
    if request.script is None and request.module is None:
        document.refuse((), "neither script nor module is given; one of them is required")
    if request.script is not None and request.module is not None:
        document.refuse(("module",), f"script is also given (line {document.line(('script',))}); keep one of them")
    with _noting(document, "script"):
        if request.script is not None:
            check_script(request.script)
    with _noting(document, "module"):
        if request.module is not None:
            check_module(request.module)
    with _noting(document, "workdir"):
        if request.workdir is not None:
            check_workdir(request.workdir)
    _check_sizes(request, document)


def _check_sizes(request: JobRequest, document: JobSource) -> None:
    """Check world size, nodes, processes, mesh and rank against each other, as far as they are given: the command line may add more."""
    sizes = {"world_size": request.world_size, "nnodes": request.nnodes, "nproc_per_node": request.nproc_per_node}
    given = [key for key, size in sizes.items() if size is not None]
    with _noting(document, given[0] if given else "mesh"):
        if given:
            resolve_world(**sizes, mesh=None)
        if request.mesh is not None:
            with _noting(document, "mesh"):
                resolve_world(**sizes, mesh=request.mesh)
    total = total_ranks(**sizes, mesh=request.mesh)
    if request.ranks is not None and total is not None:
        with _noting(document, "ranks" if document.has("ranks") else "rank"):
            request.ranks.resolve(total)


@contextmanager
def _noting(document: JobSource, *path: Key) -> Iterator[None]:
    """A UsageError becomes a problem of the key at that path."""
    try:
        yield
    except UsageError as error:
        document.refuse(path, str(error))
