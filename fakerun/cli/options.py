"""The options that describe a job and how to run it, for every command that runs one. Those of the report are in `report_output`."""

import re
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from fakerun.cli.report_output import option
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, accelerator_names
from fakerun.job.launcher import DEFAULT_LAUNCHER, Launcher
from fakerun.job.out_of_memory import DEFAULT_OUT_OF_MEMORY, OutOfMemory
from fakerun.job.request import DEFAULT_SAMPLES, DEFAULT_STEPS
from fakerun.job.routing import DEFAULT_ROUTING, Routing
from fakerun.job.torch_behaviour import TorchBehaviour
from fakerun.printable import cut

_MOST_DIGITS = 18


def _whole_number(text: str) -> int:
    if not re.fullmatch("-?[0-9]+", text):
        raise typer.BadParameter(f"{text!r} is not a whole number")
    if len(text) > _MOST_DIGITS:
        raise typer.BadParameter(f"{cut(text, _MOST_DIGITS)!r} is too large")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number of seconds") from error


def _complete_hardware(incomplete: str) -> list[str]:
    return [name for name in accelerator_names() if name.startswith(incomplete)]


def _complete_interconnect(incomplete: str) -> list[str]:
    from fakerun.hardware.interconnects import known_interconnects

    return [name for name in known_interconnects() if name.startswith(incomplete)]


def _complete_launcher(incomplete: str) -> list[str]:
    return [name for name in Launcher if name.startswith(incomplete)]


def _complete_oom(incomplete: str) -> list[str]:
    return [name for name in OutOfMemory if name.startswith(incomplete)]


def _complete_torch_behaviour(incomplete: str) -> list[str]:
    return [name for name in TorchBehaviour if name.startswith(incomplete)]


def _complete_routing(incomplete: str) -> list[str]:
    return [name for name in Routing if name.startswith(incomplete)]


_HARDWARE_HELP = (
    f"The accelerator, with figures of your own (h100-80gb,memory=94GiB): {', '.join(accelerator_names())}.  [default: {DEFAULT_HARDWARE}]"
)

Script: TypeAlias = Annotated[str | None, typer.Argument(hidden=True)]
Args: TypeAlias = Annotated[list[str] | None, typer.Argument(hidden=True)]
Module: TypeAlias = Annotated[bool, option("-m", "--module", help="SCRIPT is the name of a module, as in python -m.")]
NoPython: TypeAlias = Annotated[bool, option("--no-python", hidden=True)]

WorldSize: TypeAlias = Annotated[
    int | None, option(parser=_whole_number, metavar="N", help="Number of ranks. Nodes are filled with up to 8 of them.")
]
Nnodes: TypeAlias = Annotated[str | None, option(metavar="N", help="Number of nodes.")]
NprocPerNode: TypeAlias = Annotated[str | None, option(metavar="N", help="Number of ranks on each node.")]
Mesh: TypeAlias = Annotated[str | None, option(metavar="2x4|dp=2,tp=4", help="Device mesh. Without --world-size, its product.")]
Rank: TypeAlias = Annotated[int | None, option(parser=_whole_number, metavar="R", help="The rank to simulate.  [default: 0]")]
Ranks: TypeAlias = Annotated[
    str | None, option(metavar="all|auto|0,4-7", help="The ranks to simulate. auto: a few that represent all of them.")
]
Samples: TypeAlias = Annotated[
    int | None,
    option(parser=_whole_number, metavar="N", help=f"With --ranks auto: ranks to simulate at random.  [default: {DEFAULT_SAMPLES}]"),
]
Seed: TypeAlias = Annotated[
    int | None, option(parser=_whole_number, metavar="S", help="With --ranks auto: chooses the random ranks.  [default: by the job]")
]
Steps: TypeAlias = Annotated[
    str | None, option(metavar="N|all", help=f"Optimizer steps to run. all: to the script's end.  [default: {DEFAULT_STEPS}]")
]
Hardware: TypeAlias = Annotated[str | None, option(metavar="NAME[,KEY=VALUE]", help=_HARDWARE_HELP, autocompletion=_complete_hardware)]
OtherHardware: TypeAlias = Annotated[
    str | None,
    option(
        "--hardware",
        metavar="NAME[,KEY=VALUE]",
        help="Judge the run on this accelerator instead of the one it was simulated on.",
        autocompletion=_complete_hardware,
    ),
]
"""`--hardware` of a command that reads a run that was kept."""

RoutingName: TypeAlias = Annotated[
    str | None,
    option(
        metavar="|".join(Routing),
        help=f"Where choices depend on unknown scores, such as a router's experts: how they fall.  [default: {DEFAULT_ROUTING}]",
        autocompletion=_complete_routing,
    ),
]
LauncherName: TypeAlias = Annotated[
    str | None,
    option(
        "--launcher",
        metavar="|".join(Launcher),
        help=f"Whose environment variables the ranks find.  [default: {DEFAULT_LAUNCHER}]",
        autocompletion=_complete_launcher,
    ),
]
AllocConf: TypeAlias = Annotated[
    str | None, option(metavar="KEY:VALUE[,...]", help="Settings of the caching allocator, as in PYTORCH_ALLOC_CONF.")
]
OtherAllocConf: TypeAlias = Annotated[
    str | None,
    option("--alloc-conf", metavar="KEY:VALUE[,...]", help="Judge the memory with these settings of the allocator instead of the run's."),
]
"""`--alloc-conf` of a command that reads a run that was kept."""

Oom: TypeAlias = Annotated[
    str | None,
    option(
        metavar="|".join(OutOfMemory),
        help="An allocation that a device has no memory for: go on and report it, or raise torch.OutOfMemoryError."
        f"  [default: {DEFAULT_OUT_OF_MEMORY}]",
        autocompletion=_complete_oom,
    ),
]
TorchBehaviourName: TypeAlias = Annotated[
    str | None,
    option(
        "--torch-behaviour",
        metavar="|".join(TorchBehaviour),
        help="Behave as this older torch, where it is known to need another amount of memory.",
        autocompletion=_complete_torch_behaviour,
    ),
]
InterconnectName: TypeAlias = Annotated[
    str | None,
    option(
        "--interconnect",
        metavar="NAME[,KEY=VALUE]",
        help="The network between nodes (ib-ndr-8x, aws-p5).  [default: that of the accelerator's usual node]",
        autocompletion=_complete_interconnect,
    ),
]
TokensPerStep: TypeAlias = Annotated[
    int | None,
    option(parser=_whole_number, metavar="N", help="Tokens of a step of all ranks.  [default: as many as the model is given]"),
]
Calibrate: TypeAlias = Annotated[
    list[str] | None,
    option(
        metavar="FILE", help="Estimate the step time with measurements: a table of products, the seconds of a step, nccl-tests' output."
    ),
]
ErrorOnCollective: TypeAlias = Annotated[
    str | None,
    option(metavar="[=OPERATIONS]", help="Exit with 1 if the script issues a collective, or one of these (all_reduce,send)."),
]
Timeout: TypeAlias = Annotated[float | None, option(parser=_seconds, metavar="SECONDS", help="Stop a rank that takes longer.")]

Jobs: TypeAlias = Annotated[
    int | None, option("-j", "--jobs", parser=_whole_number, metavar="N", help="Ranks to run at a time.  [default: cores]")
]
RunDirectoryPath: TypeAlias = Annotated[
    Path | None, option(metavar="DIRECTORY", help="Keep records and output here.  [default: kept only if a rank fails]")
]
Resume: TypeAlias = Annotated[bool, option("--resume", help="Continue the run in --run-dir: simulate the ranks that it lacks.")]
ShowOutput: TypeAlias = Annotated[bool, option("-v", "--show-output", help="Show what the script prints, on stderr.")]
Quiet: TypeAlias = Annotated[bool, option("-q", "--quiet", help="Print the report, warnings and errors only.")]
