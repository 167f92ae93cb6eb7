"""A command that starts ranks, as a launch: torchrun, `accelerate launch`, TorchX's `dist.ddp`, or Python itself."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.errors import UsageError
from fakerun.job.importers.accelerate_settings import ACCELERATE_FLAGS, accelerate_environment, settings_of_options
from fakerun.job.importers.gpu_names import instance_gpu, unclear_gpu
from fakerun.job.importers.shell import ExpandedWord
from fakerun.job.importers.source import Note, Source
from fakerun.job.request import check_module
from fakerun.job.torchrun_options import COUNTED_ON_THE_MACHINE, TORCHRUN_OPTIONS
from fakerun.units import is_count

NO_LAUNCH = frozenset({"echo", "printf", "which", "command", "type", "pip", "pip3", "conda", "mamba", "test", "[", "[[", "export", "alias"})
"""Commands whose words are no command."""

OTHER_LAUNCHERS = frozenset({"deepspeed", "fabric", "lightning", "colossalai", "horovodrun", "tune", "llamafactory-cli", "axolotl", "ray"})
"""That start ranks and are not read."""

_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_PYTHON_FLAGS = re.compile(r"-[bBdEhiIOPqRsSuvVx]+")
_TORCHRUN_MODULES = frozenset({"torch.distributed.run", "torch.distributed.launch"})
_NO_TRAINING_MODULES = frozenset({"pip", "venv", "ensurepip", "compileall", "site", "pytest", "build", "ipykernel", "http.server"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a command starts. `by_python`: Python alone, one process; else `nnodes` and `nproc` are the launcher's, as far as it is told."""

    line: int
    script: ExpandedWord | None = None
    module: ExpandedWord | None = None
    args: tuple[ExpandedWord, ...] = ()
    nnodes: int | None = None
    nproc: int | None = None
    nproc_counted: str | None = None
    """`gpu` and its like: the launcher counts devices."""
    env: tuple[tuple[str, str], ...] = ()
    hardware: str | None = None
    name: str | None = None
    by_python: bool = False
    before: tuple[ExpandedWord, ...] = ()
    """The words before it: srun with its options, and others."""
    notes: tuple[Note, ...] = ()


def launch_of(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch | None:
    """The launch that a command is; None if it starts nothing that is known.

    Raises:
        UsageError: it is one, and cannot be carried over.
    """
    if not words or _base(words[0].text) in NO_LAUNCH:
        return None
    for index, word in enumerate(words):
        rest = words[index + 1 :]
        launch = _launch_at(source, line, _base(word.text), rest)
        if launch is not None:
            return replace(launch, before=tuple(words[:index]))
    return None


def other_launcher(words: Sequence[ExpandedWord]) -> str | None:
    """The name of a launcher that is not read, if the command starts one."""
    if not words or _base(words[0].text) in NO_LAUNCH:
        return None
    return next((name for word in words if (name := _base(word.text)) in OTHER_LAUNCHERS), None)


def _launch_at(source: Source, line: int, name: str, rest: Sequence[ExpandedWord]) -> Launch | None:
    if name == "torchrun":
        return _torchrun(source, line, rest)
    if name == "accelerate-launch":
        return _accelerate(source, line, rest)
    if name == "accelerate" and rest and rest[0].text == "launch":
        return _accelerate(source, line, rest[1:])
    if name == "torchx" and rest and rest[0].text == "run":
        return _torchx(source, line, rest[1:])
    if _PYTHON.fullmatch(name):
        return _python(source, line, rest)
    return None


def _base(text: str) -> str:
    return text.rpartition("/")[2]


class _Options:
    """The options of a launcher up to the first word that is none, by name with underscores.

    With `known`, an option that is not among these, nor begins one, is the first word that is none.
    """

    def __init__(
        self,
        source: Source,
        line: int,
        words: Sequence[ExpandedWord],
        flags: Iterable[str],
        short: Mapping[str, str],
        known: frozenset[str] | None = None,
    ) -> None:
        self._source, self._line = source, line
        self.values: dict[str, ExpandedWord | None] = {}
        flags, index = frozenset(flags), 0
        while index < len(words) and words[index].text.startswith("-"):
            word = words[index]
            index += 1
            if word.text == "--":
                break
            spelled, equals, value = word.text.partition("=")
            name = short.get(spelled, spelled.lstrip("-").replace("-", "_"))
            if known is not None and not any(each.startswith(name) for each in known):
                index -= 1
                break
            if equals:
                given: ExpandedWord | None = replace(word, text=value)
            elif name in flags:
                given = None
            elif index < len(words):
                given = words[index]
                index += 1
            else:
                raise source.refusal(line, f"{word.text} has no value; give it one")
            self.values[name] = given
        self.rest = tuple(words[index:])

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else value.text

    def number(self, name: str) -> int | None:
        """The value of an option that must be a whole number.

        Raises:
            UsageError: it is none, or not known.
        """
        value = self.values.get(name)
        return None if value is None else number_of(self._source, self._line, f"--{name.replace('_', '-')}", value)


def number_of(source: Source, line: int, what: str, word: ExpandedWord) -> int:
    """The whole number, at least 1, that a word is.

    Raises:
        UsageError: it is none, or not known. The message says what it is for.
    """
    if word.unknown:
        names = ", ".join(word.unknown)
        raise source.refusal(line, f"{what} is {word.text}: the value of {names} is not in the file; write the number there")
    if not is_count(word.text) or int(word.text) < 1:
        raise source.refusal(line, f"{what} is {word.text!r}, which is not a number above 0; write one")
    return int(word.text)


def node_number(source: Source, line: int, what: str, word: ExpandedWord) -> tuple[int, tuple[Note, ...]]:
    """`4`, or `1:4` of an elastic job, which is taken at its largest."""
    smallest, colon, largest = word.text.partition(":")
    if not colon or word.unknown:
        return number_of(source, line, what, word), ()
    number_of(source, line, what, replace(word, text=smallest))
    number = number_of(source, line, what, replace(word, text=largest))
    return number, (Note(line=line, text=f"{what} {word.text}: the job is elastic, and written down at its largest"),)


_UNDERSTOOD = frozenset({"nnodes", "nproc_per_node", "module", "no_python", "standalone", "use_env"})


def _torchrun(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch:
    flags = {option.name for option in TORCHRUN_OPTIONS if not option.takes_value} | {"use_env"}
    short = {option.short: option.name for option in TORCHRUN_OPTIONS if option.short}
    options = _Options(source, line, words, flags, short)
    known = {option.name for option in TORCHRUN_OPTIONS} | {"use_env"}
    unknown = [name for name in options.values if name not in known]
    if unknown:
        raise source.refusal(
            line, f"torchrun has no option --{unknown[0].replace('_', '-')}; remove it, or write the job by hand: fakerun init"
        )
    if "no_python" in options.values:
        raise source.refusal(line, "--no-python starts no Python program, and only these can be simulated; name the script in its place")
    nnodes: int | None = None
    notes: tuple[Note, ...] = ()
    if (value := options.values.get("nnodes")) is not None:
        nnodes, notes = node_number(source, line, "--nnodes", value)
    counted = options.text("nproc_per_node")
    is_counted = counted in COUNTED_ON_THE_MACHINE
    dropped = sorted(f"--{name.replace('_', '-')}" for name in options.values.keys() - _UNDERSTOOD)
    if dropped:
        notes = (*notes, Note(line=line, text=f"not carried over, because only a real launch needs it: {', '.join(dropped)}"))
    launch = Launch(
        line=line,
        nnodes=nnodes,
        nproc=None if is_counted else options.number("nproc_per_node"),
        nproc_counted=counted if is_counted else None,
        notes=notes,
    )
    return _with_program(source, launch, options.rest, is_module="module" in options.values)


def _with_program(source: Source, launch: Launch, words: Sequence[ExpandedWord], *, is_module: bool) -> Launch:
    if not words:
        raise source.refusal(launch.line, "the command names no script; add it, or --module with the name of a module")
    program = words[0]
    what = "module" if is_module else "script"
    if program.unknown:
        names = ", ".join(program.unknown)
        raise source.refusal(launch.line, f"the {what} is {program.text}: the value of {names} is not in the file; write the {what} there")
    if is_module:
        try:
            check_module(program.text)
        except UsageError as error:
            raise source.refusal(launch.line, str(error)) from error
    return replace(launch, script=None if is_module else program, module=program if is_module else None, args=tuple(words[1:]))


_ACCELERATE_SIZES = frozenset({"num_processes", "num_machines", "module", "no_python", "config_file"})


def _accelerate(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch:
    options = _Options(source, line, words, ACCELERATE_FLAGS, {"-m": "module", "-t": "tee", "-q": "quiet"})
    if "no_python" in options.values:
        raise source.refusal(line, "--no_python starts no Python program, and only these can be simulated; name the script in its place")
    processes, machines = options.number("num_processes"), options.number("num_machines")
    notes = []
    config = options.text("config_file")
    if config is not None:
        way_out = f"fakerun init --from {config} imports it"
        notes.append(
            Note(line=line, text=f"--config_file {config} is not read; what it says and this line does not is missing ({way_out})")
        )
    if processes is not None and processes % (machines or 1):
        raise source.refusal(line, f"{processes} processes do not fill {machines} machines evenly; change one of the numbers")
    texts = {name: None if value is None else value.text for name, value in options.values.items() if name not in _ACCELERATE_SIZES}
    settings, dropped = settings_of_options(texts)
    if dropped:
        spelled = ", ".join(f"--{name}" for name in dropped)
        notes.append(Note(line=line, text=f"not carried over, because only a real launch needs it: {spelled}"))
    environment = accelerate_environment(settings)
    notes.extend(Note(line=line, text=f"not carried over: {each}") for each in environment.not_carried)
    launch = Launch(
        line=line,
        nnodes=machines or 1,
        nproc=None if processes is None else processes // (machines or 1),
        nproc_counted="the number of processes of accelerate's configuration" if processes is None else None,
        env=tuple(environment.variables.items()),
        notes=tuple(notes),
    )
    return _with_program(source, launch, options.rest, is_module="module" in options.values)


_TORCHX_OWN_FLAGS = frozenset({"dryrun", "wait", "log", "tee_logs", "stdin"})
_TORCHX_OPTIONS = frozenset(
    {
        *("script", "m", "image", "name", "h", "cpu", "gpu", "memMB", "j", "env", "metadata", "max_retries", "rdzv_port", "rdzv_backend"),
        *("rdzv_conf", "mounts", "debug", "tee"),
    }
)
_TORCHX_COMPONENTS = ("dist.ddp", "dist.spmd", "ddp", "spmd")


def _torchx(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch:
    """torchx/components/dist.py of TorchX 0.7: `dist.ddp` and `dist.spmd`."""
    own = _Options(source, line, words, _TORCHX_OWN_FLAGS, {"-s": "scheduler", "-cfg": "cfg"})
    if not own.rest or own.rest[0].text not in _TORCHX_COMPONENTS:
        found = own.rest[0].text if own.rest else "none"
        raise source.refusal(line, f"the TorchX component is {found}; those that are read: {', '.join(_TORCHX_COMPONENTS[:2])}")
    component = own.rest[0].text.removeprefix("dist.")
    options = _Options(source, line, own.rest[1:], (), {"-j": "j", "-m": "m", "-h": "h"}, _TORCHX_OPTIONS)
    script, module = options.values.get("script"), options.values.get("m")
    if (script is None) == (module is None):
        raise source.refusal(line, "exactly one of --script and -m names what TorchX runs; keep one of them")
    nnodes, nproc, notes = _torchx_size(source, line, component, options.values.get("j"))
    instance = options.text("h")
    hardware = None if instance is None else instance_gpu(instance)
    if instance is not None and hardware is None:
        notes = (*notes, Note(line=line, text=unclear_gpu(instance, "-h", ())))
    used = {"script", "m", "j", "h", "env", "name"}
    dropped = [f"--{name}" for name in (*own.values, *options.values) if name not in used]
    if dropped:
        notes = (*notes, Note(line=line, text=f"not carried over, because only a real launch needs it: {', '.join(dropped)}"))
    launch = Launch(
        line=line,
        nnodes=nnodes,
        nproc=nproc,
        nproc_counted=None if nproc else "-j without a number of processes",
        env=_torchx_environment(source, line, options.text("env")),
        hardware=hardware,
        name=(options.text("name") or "").strip("/").replace("/", "-") or None,
        notes=notes,
    )
    program = script or module
    assert program is not None
    return _with_program(source, launch, (program, *options.rest), is_module=script is None)


def _torchx_size(source: Source, line: int, component: str, word: ExpandedWord | None) -> tuple[int, int | None, tuple[Note, ...]]:
    """`2x8`, `1:2x8`; alone `8` is processes of one node for ddp, nodes for spmd, which asks the machine for the rest."""
    if word is None:
        return (1, 2, ()) if component == "ddp" else (1, 1, ())
    nodes, times, processes = word.text.partition("x")
    if not times:
        number = number_of(source, line, "-j", word)
        return (1, number, ()) if component == "ddp" else (number, None, ())
    nnodes, notes = node_number(source, line, "-j", replace(word, text=nodes))
    return nnodes, number_of(source, line, "-j", replace(word, text=processes)), notes


def _torchx_environment(source: Source, line: int, text: str | None) -> tuple[tuple[str, str], ...]:
    """`A=1,B=2`; a comma in a value is written as `;` is: TorchX splits at both."""
    pairs = [pair.partition("=") for pair in re.split("[,;]", text or "") if pair]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise source.refusal(line, f"--env {text}: {name!r} has no value; write NAME=VALUE, separated by commas")
    return tuple((name, value) for name, _, value in pairs)


def _python(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch | None:
    index = 0
    while index < len(words) and words[index].text.startswith("-"):
        option = words[index].text
        if option == "-m":
            return _python_module(source, line, words[index + 1 :])
        if option == "-c" or option == "-":
            raise source.refusal(line, "the command gives Python its program as text; write it to a script, and name that")
        if option.startswith("-m") and not option.startswith("--"):
            return _python_module(source, line, (replace(words[index], text=option[2:]), *words[index + 1 :]))
        index += 1 if _PYTHON_FLAGS.fullmatch(option) or len(option) > len("-W") else 2
    if index >= len(words):
        return None  # an interpreter that reads its standard input, or an argument of another command
    return _with_program(source, Launch(line=line, by_python=True), words[index:], is_module=False)


def _python_module(source: Source, line: int, words: Sequence[ExpandedWord]) -> Launch | None:
    name = words[0].text if words else ""
    if name in _TORCHRUN_MODULES:
        launch = _torchrun(source, line, words[1:])
        is_told = name == "torch.distributed.run" or any(word.text in ("--use_env", "--use-env") for word in words)
        text = "torch.distributed.launch without --use-env passes --local-rank to the script, and fakerun does not"
        return launch if is_told else replace(launch, notes=(*launch.notes, Note(line=line, text=text)))
    if name == "accelerate.commands.launch":
        return _accelerate(source, line, words[1:])
    if name.partition(".")[0] in _NO_TRAINING_MODULES:
        return None
    return _with_program(source, Launch(line=line, by_python=True), words, is_module=True)
