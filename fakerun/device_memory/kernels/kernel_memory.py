"""KernelMemory, what one kernel takes, and Platform, what decides it beside the arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fakerun.allocator.settings import LATEST, TorchVersion
from fakerun.hardware.accelerator import Accelerator

KIB = 1024
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Memory that a library keeps for each pair of a thread and a stream: allocated where it is first needed, and not freed."""

    library: str
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelMemory:
    """`temporary_bytes` are requests that are alive together while the kernel is launched, and freed then."""

    temporary_bytes: tuple[int, ...] = ()
    workspaces: tuple[Workspace, ...] = ()


NOTHING = KernelMemory()


def temporaries(*sizes: int) -> KernelMemory:
    """Requests of these bytes; what is empty is not requested."""
    return KernelMemory(temporary_bytes=tuple(size for size in sizes if size > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The device, the version of torch, and the variables of the rank's environment."""

    hardware: Accelerator
    torch_version: TorchVersion = LATEST
    variables: Mapping[str, str] = field(default_factory=dict)

    def flag(self, variable: str) -> bool | None:
        """A variable that torch reads as a flag: None if it is not set, or neither `0` nor `1` (`check_env`, c10/util/env.cpp)."""
        return {"0": False, "1": True}.get(self.variables.get(variable, ""))
