"""The option `--hardware`, which `run` and `report` have in common: its help, its completion."""

from typing import Annotated, TypeAlias

from fakerun.cli.report_output import option
from fakerun.hardware.catalogue import DEFAULT_HARDWARE, accelerator_names

METAVAR = "NAME[,KEY=VALUE]"


def complete_hardware(incomplete: str) -> list[str]:
    """Names of accelerators."""
    return [name for name in accelerator_names() if name.startswith(incomplete)]


Hardware: TypeAlias = Annotated[
    str | None,
    option(
        metavar=METAVAR,
        help="The accelerator, with figures of your own (h100-80gb,memory=94GiB): "
        f"{', '.join(accelerator_names())}.  [default: {DEFAULT_HARDWARE}]",
        autocompletion=complete_hardware,
    ),
]
"""Of a job that is about to run."""

OtherHardware: TypeAlias = Annotated[
    str | None,
    option(
        "--hardware",
        metavar=METAVAR,
        help="Judge the run on this accelerator, not on the one it was simulated on.",
        autocompletion=complete_hardware,
    ),
]
"""Of a run that was kept."""
