"""The launches of a shell script, as jobs. What surrounds the script (a scheduler's nodes, its GPUs) is a `ScriptSetting`."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fakerun.errors import UsageError
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.launch_command import NO_LAUNCH, Launch, launch_of, other_launcher
from fakerun.job.importers.shell import ExpandedWord, Shell, ShellCommand, is_secret
from fakerun.job.importers.source import Note, Source
from fakerun.job.launcher import Launcher
from fakerun.job.variable import literal_value
from fakerun.printable import cut

_OF_THE_LAUNCHER = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"}
)
"""What torchrun sets for its ranks, whatever was set before."""

_OF_THE_MACHINE = frozenset({"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CUDA_HOME", "VIRTUAL_ENV", "HOME", "PS1"})
"""Where things are on the machine that the script is for."""

_SILENT = (
    NO_LAUNCH
    | {"set", "date", "hostname", "nvidia-smi", "sleep", "wait", "exit", "mkdir", "true", "false", "ulimit", "clear", "trap"}
    | {
        "cd",
        "cat",
        "ls",
        "pwd",
        "sudo",
        "rm",
        "[",
        "free",
        "df",
        "nproc",
        "whoami",
        "uname",
        "env",
        "shift",
        "return",
        "break",
        "continue",
        ":",
    }
)
"""Commands that decide nothing about the ranks."""

_MOST_WORDS_SHOWN = 2
_MOST_SHOWN = 80
_MOST_JOBS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a command is started on: its nodes, if that is known, and the ranks on each, if the scheduler starts these itself.

    `is_told`: the command finds the number of nodes in its environment; else a launcher without `--nnodes` is one node's.
    """

    nnodes: int | None = None
    tasks_per_node: int | None = None
    is_told: bool = False
    launcher: Launcher = Launcher.TORCHRUN
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSetting:
    """What is known outside a script, and where its commands are placed.

    `variables` are set when it starts; of these, `exported` are in the environment, with their lines. `gpus_per_node` answers
    `--nproc-per-node gpu`; `nproc_per_node`, or `nproc_counted`, is what the launcher finds in its environment.
    """

    place: Callable[[Launch], Placement]
    name: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    exported: Mapping[str, int] = field(default_factory=dict)
    nproc_per_node: int | None = None
    nproc_counted: str | None = None
    gpus_per_node: int | None = None
    hardware: str | None = None
    directory: str = ""
    notes: tuple[Note, ...] = ()


def jobs_of_script(source: Source, text: str, setting: ScriptSetting, first_line: int = 1) -> tuple[ImportedJob, ...]:
    """A job for each launch; programs that Python alone starts are launches where there are no others.

    Raises:
        UsageError: there is none, or one that cannot be carried over.
    """
    shell = Shell(source, setting.variables, setting.exported)
    launches, skipped, others = list[tuple[ShellCommand, Launch, Placement]](), dict[str, int](), dict[str, int]()
    for command in shell.commands(text, first_line):
        launch = launch_of(source, command.line, command.words)
        if launch is not None:
            launches.append((command, launch, setting.place(launch)))
        elif (name := other_launcher(command.words)) is not None:
            others.setdefault(name, command.line)
        elif (name := command.words[0].text.rpartition("/")[2]) not in _SILENT and not command.words[0].unknown:
            skipped.setdefault(_shown(command.words), command.line)
    chosen = [each for each in launches if not each[1].by_python or each[2].launcher is not Launcher.TORCHRUN] or launches
    if not chosen:
        raise _no_launch(source, others, first_line)
    if len(chosen) > _MOST_JOBS:
        raise source.refusal(chosen[_MOST_JOBS][0].line, f"more than {_MOST_JOBS} commands start ranks; keep those to import")
    notes = (*setting.notes, *shell.notes, *_left_out(launches, chosen, skipped, others))
    return named_apart(_job(source, each, setting, notes) for each in chosen)


def _no_launch(source: Source, others: Mapping[str, int], first_line: int) -> UsageError:
    read = "torchrun, python -m torch.distributed.run, accelerate launch, torchx run dist.ddp, srun python, python"
    if not others:
        return source.refusal(first_line, f"no command starts ranks; those that are read: {read}")
    name, line = next(iter(others.items()))
    message = f"{name} starts the ranks, and its commands are not read ({read} are); write the job by hand: fakerun init"
    return source.refusal(line, message)


def _left_out(
    launches: Sequence[tuple[ShellCommand, Launch, Placement]],
    chosen: Sequence[tuple[ShellCommand, Launch, Placement]],
    skipped: Mapping[str, int],
    others: Mapping[str, int],
) -> Iterable[Note]:
    """What the script does beside starting ranks."""
    for command, _, _ in launches:
        if not any(command is each for each, _, _ in chosen):
            yield Note(line=command.line, text=f"not carried over: {_shown(command.words)} starts no ranks")
    for name, line in others.items():
        yield Note(line=line, text=f"not carried over: {name}, whose commands are not read")
    for text, line in skipped.items():
        yield Note(line=line, text=f"not carried over, and nothing of it is run: {text}")


def _shown(words: Sequence[ExpandedWord]) -> str:
    """The first two words: the others may be secrets, or many."""
    more = " ..." if len(words) > _MOST_WORDS_SHOWN else ""
    return _short(" ".join(word.text for word in words[:_MOST_WORDS_SHOWN])) + more


def _short(text: str) -> str:
    return cut(" ".join(text.split()), _MOST_SHOWN)


def named_apart(jobs: Iterable[ImportedJob]) -> tuple[ImportedJob, ...]:
    """The jobs with names that a job may have, each once: `train`, `train-2`."""
    named: dict[str, ImportedJob] = {}
    for job in jobs:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", job.name).strip("-.")[:80] or "job"
        name, number = plain, 1
        while name in named:
            number += 1
            name = f"{plain}-{number}"
        named[name] = replace(job, name=name)
    return tuple(named.values())


def _job(source: Source, found: tuple[ShellCommand, Launch, Placement], setting: ScriptSetting, notes: tuple[Note, ...]) -> ImportedJob:
    command, launch, where = found
    env, env_notes = _environment(command, launch, where.launcher)
    args, arg_notes = _arguments(launch)
    nnodes, nproc, unknown, size_notes = _size(source, launch, where, setting)
    directory = posixpath.normpath(posixpath.join(setting.directory, command.directory)) if command.directory or setting.directory else ""
    return ImportedJob(
        name=launch.name or setting.name or _program_name(launch) or source.stem,
        line=command.line,
        script=_as_path(launch.script),
        module=None if launch.module is None else launch.module.text,
        args=args,
        env=env,
        workdir=directory if directory not in ("", ".") else None,
        nnodes=nnodes,
        nproc_per_node=nproc,
        nproc_unknown=unknown,
        hardware=launch.hardware or setting.hardware,
        launcher=where.launcher,
        notes=_in_order((*notes, *launch.notes, *where.notes, *size_notes, *env_notes, *arg_notes, *_circumstances(command, launch))),
    )


def _in_order(notes: Iterable[Note]) -> tuple[Note, ...]:
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: note.line))


def _circumstances(command: ShellCommand, launch: Launch) -> Iterable[Note]:
    """What stands around a launch that may matter: a condition, and the words before it."""
    if command.is_conditional:
        yield Note(line=command.line, text="the command runs under a condition, in a loop or a function: it is taken as if it ran")
    if len(launch.before) > 1 or any(word.text.rpartition("/")[2] != "srun" for word in launch.before):
        text = _short(" ".join(word.text for word in launch.before))
        yield Note(line=command.line, text=f"of what stands before the launcher, only nodes and tasks are read: {text}")


def _as_path(script: ExpandedWord | None) -> str | None:
    return None if script is None else posixpath.normpath(script.text)


def _program_name(launch: Launch) -> str | None:
    program = launch.script or launch.module
    if program is None:
        return None
    last = program.text.rpartition("/")[2]
    return last.removesuffix(".py") if launch.module is None else last.replace(".", "-")


def _size(source: Source, launch: Launch, where: Placement, setting: ScriptSetting) -> tuple[int, int | None, str | None, tuple[Note, ...]]:
    """Nodes, ranks of each, why these are not known, and notes."""
    nodes = where.nnodes or 1
    if launch.by_python and where.launcher is not Launcher.TORCHRUN:
        return nodes, where.tasks_per_node or 1, None, ()
    nnodes, notes = _nodes(source, launch, where)
    if launch.by_python:
        text = "Python alone starts one process; if the script starts its own ranks, set nproc_per_node to their number"
        return nnodes, 1, None, (*notes, Note(line=launch.line, text=text))
    nproc, counted = launch.nproc, launch.nproc_counted
    if nproc is None and counted is None:
        nproc, counted = setting.nproc_per_node, setting.nproc_counted
    if nproc is not None or counted is None:
        return nnodes, nproc or 1, None, notes
    unknown = f"the number of ranks of a node ({counted}) is counted on the machine, and the file does not give its GPUs"
    return nnodes, setting.gpus_per_node, unknown if setting.gpus_per_node is None else None, notes


def _nodes(source: Source, launch: Launch, where: Placement) -> tuple[int, tuple[Note, ...]]:
    if where.nnodes is None or (where.is_told and launch.nnodes is None):
        return launch.nnodes or where.nnodes or 1, ()
    if launch.nnodes is None and where.nnodes > 1:
        text = f"the command names no number of nodes: each of the {where.nnodes} runs a job of one node, which is what is written here"
        return 1, (Note(line=launch.line, text=text),)
    if launch.nnodes not in (None, where.nnodes):
        raise source.refusal(launch.line, f"the command says {launch.nnodes} nodes, and is started on {where.nnodes}; make them agree")
    return where.nnodes, ()


def _arguments(launch: Launch) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    args, notes = [], []
    for word in launch.args:
        if word.text in ("$@", "$*"):
            notes.append(Note(line=launch.line, text="not carried over: the arguments that the script is called with ($@)"))
            continue
        args.append(word.text)
        if word.unknown:
            names = ", ".join(word.unknown)
            notes.append(
                Note(
                    line=launch.line,
                    text=f"the argument {_short(word.text)} contains what is not known here ({names}): write the value",
                )
            )
    return tuple(args), tuple(notes)


def _environment(command: ShellCommand, launch: Launch, launcher: Launcher) -> tuple[tuple[tuple[str, str], ...], tuple[Note, ...]]:
    """The environment variables of the ranks: those exported, the command's own, and what the launcher passes."""
    given = {name: (line, word) for name, (line, word) in command.exported.items()}
    given |= {name: (command.line, word) for name, word in command.own_env}
    variables, notes, in_command, replaced = dict[str, str](), list[Note](), list[str](), list[str]()
    for name, (line, word) in given.items():
        if name in _OF_THE_MACHINE:
            notes.append(Note(line=line, text=f"not carried over: {name}, which says where things are on that machine"))
        elif is_secret(name):
            notes.append(Note(line=line, text=f"not carried over: {name}, which may be a secret; set it in the environment"))
        elif launcher is Launcher.TORCHRUN and name in _OF_THE_LAUNCHER:
            replaced.append(name)
        elif name in command.used and (word.unknown or re.search(r"\s", word.text)):
            in_command.append(name)
        elif word.unknown and name == "MASTER_ADDR":
            variables[name] = "localhost"
            notes.append(Note(line=line, text=f"MASTER_ADDR is {_short(word.text)}: written as localhost, because no peer is contacted"))
        elif word.unknown:
            notes.append(
                Note(
                    line=line,
                    text=f"not carried over: {name}={_short(word.text)}, with what is not in the file: {', '.join(word.unknown)}",
                )
            )
        else:
            variables[name] = literal_value(word.text)
    if replaced:
        notes.append(Note(line=command.line, text=f"not carried over, because the launcher sets it: {', '.join(replaced)}"))
    if in_command:
        notes.append(
            Note(line=command.line, text=f"not carried over as variables, because they are parts of the command: {', '.join(in_command)}")
        )
    passed = ((name, literal_value(value)) for name, value in launch.env)
    return (*variables.items(), *passed), tuple(notes)
