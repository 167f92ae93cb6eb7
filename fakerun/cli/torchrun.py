"""torchrun's own options: those that mean something in a simulation are read, the others are accepted and ignored.

The list is that of `torch/distributed/run.py` in torch 2.11 to 2.15. torchrun takes defaults from `PET_<NAME>` variables; so does fakerun.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from fakerun.cli.terminal import note
from fakerun.errors import UsageError
from fakerun.units import is_count, why_no_count


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchrunOption:
    """One of torchrun's options, by parameter name. One that is understood is an option of the command itself; the others are ignored."""

    name: str
    short: str | None = None
    takes_value: bool = True
    is_understood: bool = False

    def parameter(self) -> inspect.Parameter:
        """The option as a parameter of a command: hidden, a flag or a string."""
        spellings = [each for each in (self.short, _spelled(self.name)) if each is not None]
        kind: Any = str | None if self.takes_value else bool
        annotation = Annotated[kind, typer.Option(*spellings, hidden=True, show_envvar=False)]
        default = None if self.takes_value else False
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


OPTIONS = (
    TorchrunOption(name="nnodes", is_understood=True),
    TorchrunOption(name="nproc_per_node", is_understood=True),
    TorchrunOption(name="module", short="-m", takes_value=False, is_understood=True),
    TorchrunOption(name="no_python", takes_value=False, is_understood=True),
    TorchrunOption(name="standalone", takes_value=False),
    TorchrunOption(name="rdzv_backend"),
    TorchrunOption(name="rdzv_endpoint"),
    TorchrunOption(name="rdzv_id"),
    TorchrunOption(name="rdzv_conf"),
    TorchrunOption(name="max_restarts"),
    TorchrunOption(name="monitor_interval"),
    TorchrunOption(name="start_method"),
    TorchrunOption(name="event_log_handler"),
    TorchrunOption(name="role"),
    TorchrunOption(name="run_path", takes_value=False),
    TorchrunOption(name="log_dir"),
    TorchrunOption(name="log_line_prefix_template"),
    TorchrunOption(name="redirects", short="-r"),
    TorchrunOption(name="tee", short="-t"),
    TorchrunOption(name="local_ranks_filter"),
    TorchrunOption(name="duplicate_stdout_filters"),
    TorchrunOption(name="duplicate_stderr_filters"),
    TorchrunOption(name="node_rank"),
    TorchrunOption(name="master_addr"),
    TorchrunOption(name="master_port"),
    TorchrunOption(name="local_addr"),
    TorchrunOption(name="logs_specs"),
    TorchrunOption(name="numa_binding"),
    TorchrunOption(name="print_completion"),
    TorchrunOption(name="signals_to_handle"),
    TorchrunOption(name="shutdown_timeout"),
    TorchrunOption(name="virtual_local_rank", takes_value=False),
)

_IGNORED = tuple(option for option in OPTIONS if not option.is_understood)

_COUNTED_ON_THE_MACHINE = ("auto", "cpu", "gpu", "xpu")


def accepting_ignored_options(command: Callable[..., int]) -> Callable[..., int]:
    """The command as typer reads it from its signature, with torchrun's ignored options beside its own; it is called without them."""

    @wraps(command)
    def accepting(**values: Any) -> int:
        ignored = {option.name for option in _IGNORED}
        return command(**{name: value for name, value in values.items() if name not in ignored})

    signature = inspect.signature(command)
    added = [option.parameter() for option in _IGNORED]
    vars(accepting)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *added])
    accepting.__annotations__ = command.__annotations__ | {parameter.name: parameter.annotation for parameter in added}
    return accepting


def environment_variables(parameter: str) -> list[str]:
    """The variables that give a parameter's default; the first that is set counts: fakerun's own goes before torchrun's."""
    parameter = parameter.rstrip("_")  # `format_`, where the plain name is Python's
    torchruns = [f"PET_{parameter.upper()}"] if any(option.name == parameter for option in OPTIONS) else []
    return [f"FAKERUN_{parameter.upper()}", *torchruns]


def note_ignored(given: Iterable[str]) -> None:
    """Tell the user which of the given parameters have no effect, in one line."""
    ignored = {option.name for option in _IGNORED}
    options = [_spelled(name) for name in given if name in ignored]
    if options:
        note(f"ignored, because only a real launch needs it: {', '.join(options)}")


def node_count(text: str) -> int:
    """`--nnodes 4`, or `1:4` for an elastic job, which is simulated at its largest: what it is meant to run on."""
    smallest, colon, largest = text.partition(":")
    for number in (smallest, largest) if colon else (smallest,):
        if not is_count(number):
            reason = why_no_count(number, "neither a number nor a range; write 4 or 1:4")
            raise UsageError(f"--nnodes {text!r}: {reason}")
    if not colon:
        return int(text)
    if not 0 < int(smallest) <= int(largest):
        raise UsageError(f"--nnodes {text!r}: not a valid range; write the minimum first, at least 1, as in 1:4")
    if smallest != largest:
        note(f"--nnodes {text}: simulating {largest} nodes")
    return int(largest)


def process_count(text: str) -> int | None:
    """`--nproc-per-node 8`. None for `gpu` and its like: torchrun counts devices, and here there are none, so the world size decides."""
    if text in _COUNTED_ON_THE_MACHINE:
        note(f"--nproc-per-node {text}: there are no devices to count; using the world size or the mesh instead")
        return None
    if not is_count(text):
        words = ", ".join(_COUNTED_ON_THE_MACHINE)
        reason = why_no_count(text, f"not a number; write a number (or {words}, with --world-size or --mesh)")
        raise UsageError(f"--nproc-per-node {text!r}: {reason}")
    return int(text)


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
