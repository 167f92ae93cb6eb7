"""KernelMemory, what one kernel takes, and Platform, what decides it beside the arguments."""

from collections.abc import Iterable, Mapping
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
    """`temporary_bytes` are requests while the kernel is launched, in order; -n frees the n-th of them.

    What is left is freed in the end, the last first, as C++ destroys what a function holds.
    """

    temporary_bytes: tuple[int, ...] = ()
    workspaces: tuple[Workspace, ...] = ()


NOTHING = KernelMemory()


def temporaries(*sizes: int) -> KernelMemory:
    """Requests of these bytes that are alive together; what is empty is not requested."""
    return KernelMemory(temporary_bytes=tuple(size for size in sizes if size > 0))


class Requests:
    """What a kernel requests and frees, as it is built up."""

    def __init__(self, *sizes: int) -> None:
        self._events: list[int] = []
        self._count = 0
        self._alive: list[int] = []
        self.take(*sizes)

    def take(self, *sizes: int) -> list[int]:
        """Request these bytes, and return the numbers of the requests; what is empty is not requested."""
        sizes = tuple(size for size in sizes if size > 0)
        numbers = list(range(self._count + 1, self._count + len(sizes) + 1))
        self._count += len(sizes)
        self._events += sizes
        self._alive += numbers
        return numbers

    def free(self, *numbers: int) -> None:
        """Free the requests of these numbers, the last first."""
        for number in reversed(numbers):
            self._events.append(-number)
            self._alive.remove(number)

    def during(self, memory: KernelMemory) -> None:
        """What another kernel takes, which this one launches."""
        first, before = self._count, len(self._alive)
        for request in memory.temporary_bytes:
            self.take(request) if request > 0 else self.free(first - request)
        self.free(*self._alive[before:])

    @property
    def memory(self) -> KernelMemory:
        """Without the last frees, where they are in the order in which the kernel's end has them."""
        events, alive = list(self._events), list(self._alive)
        while events and events[-1] < 0 and -events[-1] > max(alive, default=0):
            alive.append(-events.pop())
        return KernelMemory(temporary_bytes=tuple(events))


def one_by_one(kernels: Iterable[KernelMemory]) -> KernelMemory:
    """What kernels take that are launched one after the other."""
    requests = Requests()
    for kernel in kernels:
        requests.during(kernel)
    return requests.memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The device, the version of torch, and the variables of the rank's environment."""

    hardware: Accelerator
    torch_version: TorchVersion = LATEST
    variables: Mapping[str, str] = field(default_factory=dict)

    def flag(self, variable: str) -> bool | None:
        """A variable that torch reads as a flag: None if it is not set, or neither `0` nor `1` (`check_env`, c10/util/env.cpp)."""
        return {"0": False, "1": True}.get(self.variables.get(variable, ""))
