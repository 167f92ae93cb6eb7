"""torchrun's own options: those that mean something in a simulation are read, the others are accepted and ignored.

The list is that of `torch/distributed/run.py` in torch 2.11 to 2.15. torchrun takes defaults from `PET_<NAME>` variables; so does fakerun.
"""

from collections.abc import Iterable
from typing import Annotated, TypeAlias

import typer

from fakerun.cli.terminal import note
from fakerun.errors import UsageError
from fakerun.units import is_count

Value: TypeAlias = Annotated[str | None, typer.Option(hidden=True, show_envvar=False)]
"""An ignored option that takes a value; `--name` from the name of the parameter."""

UNDERSTOOD = frozenset({"nnodes", "nproc_per_node", "module", "no_python"})

IGNORED = frozenset(
    {
        "duplicate_stderr_filters",
        "duplicate_stdout_filters",
        "event_log_handler",
        "local_addr",
        "local_ranks_filter",
        "log_dir",
        "log_line_prefix_template",
        "logs_specs",
        "master_addr",
        "master_port",
        "max_restarts",
        "monitor_interval",
        "node_rank",
        "numa_binding",
        "print_completion",
        "rdzv_backend",
        "rdzv_conf",
        "rdzv_endpoint",
        "rdzv_id",
        "redirects",
        "role",
        "run_path",
        "shutdown_timeout",
        "signals_to_handle",
        "standalone",
        "start_method",
        "tee",
        "virtual_local_rank",
    }
)
"""Options that only matter to a real launch, by parameter name."""

_COUNTED_ON_THE_MACHINE = frozenset({"auto", "gpu", "cpu", "xpu"})


def environment_variables(parameter: str) -> list[str]:
    """Where a parameter's default is looked for, the first that is set: our own variable goes before torchrun's."""
    parameter = parameter.rstrip("_")  # `format_`, where the plain name is Python's
    torchruns = [f"PET_{parameter.upper()}"] if parameter in UNDERSTOOD | IGNORED else []
    return [f"FAKERUN_{parameter.upper()}", *torchruns]


def note_ignored(given: Iterable[str]) -> None:
    """Tell the user which of the given parameters have no effect, in one line."""
    options = [f"--{parameter.replace('_', '-')}" for parameter in given if parameter in IGNORED]
    if options:
        note(f"ignored, only a real launch needs it: {', '.join(options)}")


def node_count(text: str) -> int:
    """`--nnodes 4`, or `1:4` for an elastic job, which is simulated at its largest: what it is meant to run on."""
    smallest, colon, largest = text.partition(":")
    if not all(map(is_count, (smallest, largest or smallest))):
        raise UsageError(f"--nnodes {text!r} is not understood: give a number, or a range as in 1:4")
    if not colon:
        return int(text)
    if not 0 < int(smallest) <= int(largest):
        raise UsageError(f"--nnodes {text!r} is no range: the smallest number goes first, and is at least 1")
    if smallest != largest:
        note(f"--nnodes {text}: simulating {largest} nodes")
    return int(largest)


def process_count(text: str) -> int | None:
    """`--nproc-per-node 8`. None for `gpu` and its like: torchrun counts devices, and here there are none, so the world size decides."""
    if text in _COUNTED_ON_THE_MACHINE:
        note(f"--nproc-per-node {text}: there are no devices to count, so the world size or the mesh decides")
        return None
    if not is_count(text):
        words = ", ".join(sorted(_COUNTED_ON_THE_MACHINE))
        raise UsageError(f"--nproc-per-node {text!r} is not understood: give a number (or {words}, with --world-size or --mesh)")
    return int(text)
