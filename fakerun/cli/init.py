"""`fakerun init`: a first job file, or one of the jobs that another launcher's file describes."""

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakerun.cli.help import FullHelp
from fakerun.cli.options import Quiet
from fakerun.cli.report_output import option, write_report
from fakerun.cli.terminal import be_quiet, note, tell, warn
from fakerun.errors import OutputError, UsageError
from fakerun.files import read_regular, write_new, write_whole

if TYPE_CHECKING:
    from fakerun.job.importers.imported import ImportedJob
    from fakerun.job.importers.source import Source

JOB_FILE = Path("fakerun.yaml")

_STDIN = Path("-")
_MOST_SCRIPTS = 200
_MOST_SCRIPT_BYTES = 1 << 20
_MOST_INPUT_BYTES = 1 << 17
_SUFFIXES = frozenset({".yaml", ".yml"})
_TRAINING_NAMES = ("train", "pretrain", "finetune", "fine_tune", "sft", "main")


def init(
    script: Annotated[Path | None, typer.Argument(metavar="SCRIPT", show_default=False)] = None,
    source: Annotated[Path | None, option("--from", metavar="FILE", help="Import the jobs of this file; - is standard input.")] = None,
    kind: Annotated[str | None, option(metavar="KIND", help="What FILE is, where its content does not tell.")] = None,
    nproc_per_node: Annotated[int | None, option(min=1, max=1 << 20, metavar="N", help="Ranks of a node, where FILE does not say.")] = None,
    output: Annotated[Path, option("-o", "--output", metavar="FILE", help="Write this file; - is standard output.")] = JOB_FILE,
    force: Annotated[bool, option("--force", help="Replace a job file that is there.")] = False,
    quiet: Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Write a job file, fakerun.yaml: a first one for SCRIPT, or the jobs of a file of another launcher (--from)."""
    be_quiet(quiet)
    _check_output(output, source, force=force)
    if source is None and kind is not None:
        raise UsageError(f"--kind {kind} says what the file of --from is; pass --from FILE too")
    text = _first(script, nproc_per_node) if source is None else _imported(source, kind, script, nproc_per_node)
    _write(output, text, force=force)
    return 0


def _check_output(output: Path, source: Path | None, *, force: bool) -> None:
    """Refuse a place before anything is read."""
    if output == _STDIN:
        return
    if output.suffix not in _SUFFIXES:
        raise UsageError(f"output {output}: a job file ends with .yaml or .yml; pass such a name, or - for standard output")
    if source is not None and output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"output {output} is the file to import; pass another name with -o")
    if not (output.exists() or output.is_symlink()):
        return
    if not force:
        raise UsageError(f"{output} exists, and is not replaced; pass --force to replace it, or -o FILE to write another one")
    if not output.is_file() or output.is_symlink():
        raise UsageError(f"{output} is no ordinary file, and is not replaced; pass another name with -o")


def _write(output: Path, text: str, *, force: bool) -> None:
    if output == _STDIN:
        write_report(text, None)
        return
    try:
        (write_whole if force else write_new)(output, text.encode())
    except FileExistsError as error:
        raise UsageError(f"{output} exists, and is not replaced; pass --force to replace it, or -o FILE to write another one") from error
    except OSError as error:
        raise OutputError.of(error, f"{output}: cannot be written", "pass another name with -o") from error
    tell(f"wrote {output}; next: {_next_command(output)}")


def _next_command(output: Path) -> str:
    return "fakerun check" if output == JOB_FILE else f"fakerun check {output}"


def _first(script: Path | None, nproc_per_node: int | None) -> str:
    from fakerun.job.new_file import first_file

    if nproc_per_node is not None:
        raise UsageError("--nproc-per-node completes what a file says: pass it with --from FILE, or edit the job file")
    return first_file(_script(script))


def _script(script: Path | None) -> str:
    """The script of a job that names none: the one that is given, else the only one here that trains, else a placeholder."""
    from fakerun.job.new_file import PLACEHOLDER
    from fakerun.job.request import check_script

    if script is not None:
        check_script(script)
        return str(script)
    candidates = training_scripts(Path())
    if len(candidates) == 1:
        tell(f"{candidates[0]} is the training script in this directory")
        return str(candidates[0])
    why = f"{', '.join(map(str, candidates[:3]))} may all be meant" if candidates else "there is none in this directory"
    warn(f"no training script is chosen ({why}): the file names {PLACEHOLDER}; change it, or repeat with: fakerun init SCRIPT --force")
    return PLACEHOLDER


def training_scripts(directory: Path) -> Sequence[Path]:
    """The scripts that may be meant: those that import torch and are programs; of several, those that are named for training."""
    programs = [path for path in sorted(directory.glob("*.py"))[:_MOST_SCRIPTS] if _is_training_program(path)]
    named = [path for path in programs if path.stem.lower().startswith(_TRAINING_NAMES)]
    return named or programs


def _is_training_program(path: Path) -> bool:
    """Whether the file imports torch, and does something when it is run, as far as its text tells."""
    try:
        tree = ast.parse(read_regular(path, most_bytes=_MOST_SCRIPT_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    imported = {name.partition(".")[0] for node in ast.walk(tree) for name in _modules_imported(node)}
    does_something = any(isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Expr) and not _is_text(node) for node in tree.body)
    return (
        bool(imported & {"torch", "accelerate", "lightning", "transformers"})
        and does_something
        and not path.stem.startswith(("test_", "conftest", "setup"))
    )


def _modules_imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
        yield node.module


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imported_jobs(source: "Source", kind: str | None) -> tuple["ImportedJob", ...]:
    from fakerun.job.importers.kinds import imported_jobs, kind_named

    return imported_jobs(source, None if kind is None else kind_named(kind))


def _imported(path: Path, kind: str | None, script: Path | None, nproc_per_node: int | None) -> str:
    """The text of the job file, with what the user should know of it said on stderr."""
    from fakerun.job.new_file import imported_file

    source = _read(path)
    jobs = [_with_ranks(source, job, nproc_per_node) for job in _imported_jobs(source, kind)]
    if script is not None and all(job.script or job.module for job in jobs):
        raise UsageError(f"{source.name} names its scripts; leave out {script}")
    for job in jobs:
        for each in job.notes:
            note(f"{source.name}:{each.line}: {each.text}")
        _say_what_is_missing(source, job)
    named = None if all(job.script or job.module for job in jobs) else _script(script)
    return imported_file([job if job.script or job.module else replace(job, script=named) for job in jobs], source.name)


def _read(path: Path) -> "Source":
    from fakerun.job.importers.source import Source, read_source

    if path != _STDIN:
        return read_source(path)
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST_INPUT_BYTES + 1)
    if len(data) > _MOST_INPUT_BYTES:
        raise UsageError(f"standard input has more than {_MOST_INPUT_BYTES} bytes; a description of jobs is a short text")
    try:
        return Source(name="standard input", text=data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"standard input:{line}: not UTF-8: byte 0x{data[error.start]:02x}") from error


def _with_ranks(source: "Source", job: "ImportedJob", nproc_per_node: int | None) -> "ImportedJob":
    from fakerun.job.importers.source import Note

    if job.nproc_per_node is not None:
        return job
    if nproc_per_node is None:
        raise source.refusal(job.line, f"{job.nproc_unknown}; pass --nproc-per-node N")
    remark = Note(line=job.line, text=f"nproc_per_node is what was passed to fakerun init: {job.nproc_unknown}")
    return replace(job, nproc_per_node=nproc_per_node, notes=(*job.notes, remark))


def _say_what_is_missing(source: "Source", job: "ImportedJob") -> None:
    """The file is written all the same: it may be for another directory."""
    for what, path in (("working directory", job.workdir), ("script", job.script)):
        if path is not None and not Path(path).exists():
            warn(f"job {job.name} ({source.name}:{job.line}): its {what} {path} is not here; change it in the file")
            return
