"""ProgramFollower: asks allocators what the device program of the rank asks, as far as it has come."""

from typing import Generic, TypeVar

from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program import ProgramTrace

Allocators = TypeVar("Allocators", bound=DeviceAllocators)


class ProgramFollower(Generic[Allocators]):
    """`position` is how many entries of the program the allocators were asked. While they are asked one, it counts."""

    def __init__(self, allocators: Allocators, program: ProgramTrace, memory: MemoryTrace, devices: DeviceOrdinals) -> None:
        self.allocators = allocators
        self.position = 0
        self._program = program
        self._memory = memory
        self._devices = devices

    def follow(self, until: int | None = None) -> None:
        """Ask for the entries up to this number of them, or for all that there are now.

        Raises:
            AllocatorOutOfMemoryError: a device has no memory left for the entry that is asked.
        """
        allocators, blocks, devices, sequence = self.allocators, self._memory.blocks, self._devices, self._program.sequence
        for position in range(self.position, len(sequence) if until is None else until):
            self.position = position + 1
            item = sequence[position]
            if not isinstance(item, int):
                allocators.issue(item.opcode, item.operand, item.stream)
            elif item >= 0:
                block = blocks[item]
                allocators.allocate(devices[block.cuda_index], block.requested_bytes, block.stream)
            else:
                allocators.free_block(~item)
