"""DeviceAllocators: one caching allocator for each device, asked in the order of a device program."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.settings import AllocatorSettings
from fakerun.device_memory.kernels.kernel_memory import KernelMemory, Platform
from fakerun.device_memory.kernels.registry import kernel_memory
from fakerun.device_memory.private_pools import PrivatePools
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.outside_memory import context_range
from fakerun.records.collective import Phase
from fakerun.records.device_program import FRACTION_UNIT, DeviceStream, Opcode, Operation, PoolKind

if TYPE_CHECKING:
    from fakerun.allocator.blocks import Block

_PHASES = tuple(Phase)


def allocator_capacity_bytes(hardware: Accelerator) -> int:
    """What a device can give its caching allocator, beside the least that the context of the process takes."""
    return max(hardware.usable_bytes - context_range(hardware).low_bytes, 0)


class DeviceAllocators:
    """The allocators by ordinal of their device, created when the device is first used.

    `operations`, `streams`, the texts of settings that the script gives (`settings_changes`) and the kinds of private pools
    (`pool_kinds`) may grow meanwhile. `variables` are those of the rank's environment. With `capacity_bytes` a device gives no more than
    that, and requests may fail. Without, none does: a limit that the script sets to its memory (`set_per_process_memory_fraction`) is
    lifted when it is not enough.
    """

    def __init__(
        self,
        settings: AllocatorSettings,
        hardware: Accelerator,
        *,
        operations: Sequence[Operation],
        streams: Sequence[DeviceStream],
        settings_changes: Sequence[str] = (),
        pool_kinds: Sequence[PoolKind] = (),
        variables: Mapping[str, str],
        capacity_bytes: int | None = None,
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._operations = operations
        self._streams = streams
        self._settings_changes = settings_changes
        self._capacity_bytes = capacity_bytes
        self._platform = Platform(hardware=hardware, torch_version=settings.torch_version, variables=variables)
        self._allocators: dict[int, CachingAllocator] = {}
        self._allocated: list[tuple[CachingAllocator, Block]] = []
        self._kernels: dict[int, KernelMemory] = {}
        self._workspaces: dict[tuple[bool, int, str], Block] = {}
        self._in_backward = False
        self.private_pools = PrivatePools(pool_kinds, self._of_stream)
        self._by_opcode: Mapping[Opcode, Callable[[int, int], None]] = {
            Opcode.EXECUTE: self.execute,
            Opcode.RECORD_STREAM: self.record_stream,
            Opcode.BEGIN_PHASE: lambda operand, stream: self.begin_phase(operand),
            Opcode.EMPTY_CACHE: lambda operand, stream: self.empty_cache(),
            Opcode.LIMIT_MEMORY: self.limit_memory,
            Opcode.CHANGE_SETTINGS: lambda operand, stream: self.change_settings(operand),
            Opcode.FREE_WORKSPACES: lambda operand, stream: self.free_workspaces(stream),
            **self.private_pools.by_opcode,
        }

    def of(self, device: int) -> CachingAllocator:
        """The allocator of the device with this ordinal."""
        allocator = self._allocators.get(device)
        if allocator is None:
            allocator = self._allocators[device] = CachingAllocator(
                self._settings, total_bytes=self._hardware.usable_bytes, capacity_bytes=self._capacity_bytes
            )
        return allocator

    def _of_stream(self, stream: int) -> CachingAllocator:
        """The allocator of the device with the stream of this number."""
        return self.of(self._streams[stream].device)

    def all(self) -> Mapping[int, CachingAllocator]:
        """The allocators of the devices that were used."""
        return self._allocators

    def issue(self, opcode: Opcode, operand: int, stream: int) -> None:
        """Ask for what an instruction asks, which is no allocation and no free; most ask nothing of the allocators.

        Raises:
            AllocatorOutOfMemoryError: the device has no memory left for it.
        """
        ask = self._by_opcode.get(opcode)
        if ask is not None:
            ask(operand, stream)

    def allocate(self, device: int, requested_bytes: int, stream: int) -> CachingAllocator:
        """Allocate the next block, and return the allocator that did.

        Raises:
            AllocatorOutOfMemoryError: the device has no memory left for it.
        """
        allocator = self._allocators.get(device) or self.of(device)
        self._allocated.append((allocator, self._serve(allocator, requested_bytes, stream)))
        return allocator

    def _serve(self, allocator: CachingAllocator, requested_bytes: int, stream: int) -> "Block":
        try:
            return allocator.allocate(requested_bytes, stream)
        except AllocatorOutOfMemoryError:
            if self._capacity_bytes is not None:
                raise
            allocator.set_memory_fraction(1.0)
            return allocator.allocate(requested_bytes, stream)

    def free(self, age: int) -> None:
        """Free the block after which `age` others were allocated."""
        allocator, block = self._allocated[-1 - age]
        allocator.free(block)

    def free_block(self, number: int) -> None:
        """Free the block of this number."""
        allocator, block = self._allocated[number]
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
            self._take_temporarily(kernel.temporary_bytes, self._of_stream(stream), stream)

    def _take_temporarily(self, requests: Sequence[int], allocator: CachingAllocator, stream: int) -> None:
        """As `KernelMemory.temporary_bytes`. What was taken before a request fails is given back."""
        taken: dict[int, Block] = {}
        numbers = count(1)
        try:
            for request in requests:
                if request < 0:
                    allocator.free(taken.pop(-request))
                else:
                    taken[next(numbers)] = self._serve(allocator, request, stream)
        finally:
            for block in reversed(taken.values()):
                allocator.free(block)

    def _need_workspaces(self, kernel: KernelMemory, stream: int) -> None:
        """Handles are of a thread, and autograd's backward has a thread of its own: one workspace for each thread and stream."""
        for workspace in kernel.workspaces:
            key = (self._in_backward, stream, workspace.library)
            if key not in self._workspaces:
                self._workspaces[key] = self._serve(self._of_stream(stream), workspace.nbytes, stream)

    def free_workspaces(self, stream: int) -> None:
        """Those of all threads for this stream (`clearCublasWorkspacesForStream`, aten/src/ATen/cuda/CublasHandlePool.cpp)."""
        for key in [key for key in self._workspaces if key[1] == stream]:
            self._of_stream(stream).free(self._workspaces.pop(key))

    def empty_cache(self) -> None:
        for allocator in self._allocators.values():
            allocator.empty_cache()

    def limit_memory(self, fraction: int, stream: int) -> None:
        """The device of a stream gives its allocator no more than this fraction, in units of `FRACTION_UNIT`."""
        self._of_stream(stream).set_memory_fraction(fraction * FRACTION_UNIT)

    def change_settings(self, number: int) -> None:
        """The script gives the text of this number to all allocators."""
        self._settings = self._settings.updated(self._settings_changes[number])
        for allocator in self._allocators.values():
            allocator.settings = self._settings
