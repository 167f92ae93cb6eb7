"""torchrun's own options: those that mean something in a simulation are read, the others are accepted and ignored.

torchrun takes defaults from `PET_<NAME>` variables; so does fakerun.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any

import typer

from fakerun.cli.terminal import note
from fakerun.errors import UsageError
from fakerun.job.torchrun_options import COUNTED_ON_THE_MACHINE, TORCHRUN_OPTIONS, TorchrunOption, spelled
from fakerun.units import is_count, why_no_count

_IGNORED = tuple(option for option in TORCHRUN_OPTIONS if not option.is_understood)


def accepting_ignored_options(command: Callable[..., int]) -> Callable[..., int]:
    """The command as typer reads it from its signature, with torchrun's ignored options beside its own; it is called without them."""

    @wraps(command)
    def accepting(**values: Any) -> int:
        ignored = {option.name for option in _IGNORED}
        return command(**{name: value for name, value in values.items() if name not in ignored})

    signature = inspect.signature(command)
    added = [_parameter(option) for option in _IGNORED]
    vars(accepting)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *added])
    accepting.__annotations__ = command.__annotations__ | {parameter.name: parameter.annotation for parameter in added}
    return accepting


def _parameter(option: TorchrunOption) -> inspect.Parameter:
    """The option as a parameter of a command: hidden, a flag or a string."""
    spellings = [each for each in (option.short, option.spelled) if each is not None]
    kind: Any = str | None if option.takes_value else bool
    annotation = Annotated[kind, typer.Option(*spellings, hidden=True, show_envvar=False)]
    default = None if option.takes_value else False
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def environment_variables(parameter: str) -> list[str]:
    """The variables that give a parameter's default; the first that is set counts: fakerun's own goes before torchrun's."""
    parameter = parameter.rstrip("_")  # `format_`, where the plain name is Python's
    torchruns = [f"PET_{parameter.upper()}"] if any(option.name == parameter for option in TORCHRUN_OPTIONS) else []
    return [f"FAKERUN_{parameter.upper()}", *torchruns]


def note_ignored(given: Iterable[str]) -> None:
    """Tell the user which of the given parameters have no effect, in one line."""
    ignored = {option.name for option in _IGNORED}
    options = [spelled(name) for name in given if name in ignored]
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
    if text in COUNTED_ON_THE_MACHINE:
        note(f"--nproc-per-node {text}: there are no devices to count; using the world size or the mesh instead")
        return None
    if not is_count(text):
        words = ", ".join(COUNTED_ON_THE_MACHINE)
        reason = why_no_count(text, f"not a number; write a number (or {words}, with --world-size or --mesh)")
        raise UsageError(f"--nproc-per-node {text!r}: {reason}")
    return int(text)
