"""What one operation takes, by its text."""

from fakerun.device_memory.kernels.kernel_memory import KernelMemory, Platform
from fakerun.device_memory.kernels.registry import kernel_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import Operation


def platform(hardware: str = "h100-80gb", torch_version: tuple[int, int] = (2, 14), **variables: str) -> Platform:
    return Platform(hardware=hardware_named(hardware), torch_version=torch_version, variables=variables)


H100 = platform()


def taken(text: str, on: Platform = H100) -> KernelMemory:
    """What `aten.mm.default(float32[8,4], float32[4,4])` takes."""
    name, _, arguments = text.partition("(")
    return kernel_memory(Operation(name, arguments.removesuffix(")")), on)


def temporary(text: str, on: Platform = H100) -> tuple[int, ...]:
    return taken(text, on).temporary_bytes


def workspaces(text: str, on: Platform = H100) -> dict[str, int]:
    """Bytes by library."""
    return {workspace.library: workspace.nbytes for workspace in taken(text, on).workspaces}
