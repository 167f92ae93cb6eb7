"""DeviceAllocators: one caching allocator for each device, asked in the order of a device program."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.settings import AllocatorSettings
from fakerun.device_memory.kernels.kernel_memory import KernelMemory, Platform, version_of
from fakerun.device_memory.kernels.registry import kernel_memory
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceStream, Operation

if TYPE_CHECKING:
    from fakerun.allocator.blocks import Block

_PHASES = tuple(Phase)


class DeviceAllocators:
    """The allocators by ordinal of their device, created when the device is first used. `operations` and `streams` may grow meanwhile.

    `variables` are those of the rank's environment; `torch_version` is the one that runs, None the newest that is known. With
    `capacity_bytes` a device gives no more than that, and requests may fail.
    """

    def __init__(
        self,
        settings: AllocatorSettings,
        hardware: Accelerator,
        *,
        operations: Sequence[Operation],
        streams: Sequence[DeviceStream],
        variables: Mapping[str, str],
        torch_version: str | None = None,
        capacity_bytes: int | None = None,
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._operations = operations
        self._streams = streams
        self._capacity_bytes = capacity_bytes
        self._platform = Platform(hardware=hardware, torch_version=version_of(torch_version), variables=variables)
        self._allocators: dict[int, CachingAllocator] = {}
        self._allocated: list[tuple[CachingAllocator, Block]] = []
        self._kernels: dict[int, KernelMemory] = {}
        self._workspaces: set[tuple[bool, int, str]] = set()
        self._in_backward = False

    def of(self, device: int) -> CachingAllocator:
        """The allocator of the device with this ordinal."""
        allocator = self._allocators.get(device)
        if allocator is None:
            allocator = self._allocators[device] = CachingAllocator(
                self._settings, total_bytes=self._hardware.usable_bytes, capacity_bytes=self._capacity_bytes
            )
        return allocator

    def all(self) -> Mapping[int, CachingAllocator]:
        """The allocators of the devices that were used."""
        return self._allocators

    def allocate(self, device: int, requested_bytes: int, stream: int) -> CachingAllocator:
        """Allocate the next block, and return the allocator that did.

        Raises:
            AllocatorOutOfMemoryError: the device has no memory left for it.
        """
        allocator = self._allocators.get(device) or self.of(device)
        self._allocated.append((allocator, allocator.allocate(requested_bytes, stream)))
        return allocator

    def free(self, age: int) -> None:
        """Free the block after which `age` others were allocated."""
        allocator, block = self._allocated[-1 - age]
        allocator.free(block)

    def record_stream(self, age: int, stream: int) -> None:
        """The block after which `age` others were allocated is in use on a stream, too."""
        allocator, block = self._allocated[-1 - age]
        allocator.record_stream(block, stream)

    def begin_phase(self, number: int) -> None:
        """What follows belongs to the phase at this position in `Phase`."""
        self._in_backward = _PHASES[number] is Phase.BACKWARD

    def execute(self, operation: int, stream: int) -> None:
        """Queue the operation of this number on a stream: take what its kernel takes beside its results.

        Raises:
            AllocatorOutOfMemoryError: the device has no memory left for it.
        """
        kernel = self._kernels.get(operation)
        if kernel is None:
            kernel = self._kernels[operation] = kernel_memory(self._operations[operation], self._platform)
        if kernel.workspaces:
            self._need_workspaces(kernel, stream)
        if kernel.temporary_bytes:
            allocator = self.of(self._streams[stream].device)
            for block in [allocator.allocate(nbytes, stream) for nbytes in kernel.temporary_bytes]:
                allocator.free(block)

    def _need_workspaces(self, kernel: KernelMemory, stream: int) -> None:
        """Handles are of a thread, and autograd's backward has a thread of its own: one workspace for each thread and stream."""
        for workspace in kernel.workspaces:
            key = (self._in_backward, stream, workspace.library)
            if key not in self._workspaces:
                self.of(self._streams[stream].device).allocate(workspace.nbytes, stream)
                self._workspaces.add(key)

    def empty_cache(self) -> None:
        for allocator in self._allocators.values():
            allocator.empty_cache()
