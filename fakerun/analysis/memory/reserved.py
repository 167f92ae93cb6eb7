"""Reserved memory: what the caching allocators of a rank hold for its device program.

Allocations and frees are those of the program, with their streams. What kernels and libraries take from the allocator beside their results
(workspaces of cuBLAS and of attention) is not in a program, and so not in the figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.settings import AllocatorSettings
from fakerun.records.device_program import DeviceProgram, Opcode

if TYPE_CHECKING:
    from fakerun.allocator.blocks import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedMemory:
    """What one device's allocator holds, in bytes. `per_step_peak_bytes` has one entry for each completed step."""

    peak_bytes: int
    peak_allocated_bytes: int
    per_step_peak_bytes: tuple[int, ...]

    @property
    def has_settled(self) -> bool:
        """Whether the last step needed no more than the one before; what is reserved may still grow if not."""
        return len(self.per_step_peak_bytes) > 1 and self.per_step_peak_bytes[-1] <= self.per_step_peak_bytes[-2]


def reserved_memory(program: DeviceProgram, settings: AllocatorSettings, *, total_bytes: int) -> Mapping[int, ReservedMemory]:
    """Replay a program; by ordinal of the device, of which each has `total_bytes` of memory and never runs out of it."""
    replay = _Replay(program, settings, total_bytes)
    ends = iter((*program.step_ends, -1))
    end = next(ends)
    for position, number in enumerate(program.order):
        while position == end:
            replay.end_step()
            end = next(ends)
        replay.issue(number)
    while end >= 0:
        replay.end_step()
        end = next(ends)
    return replay.result()


class _Replay:
    def __init__(self, program: DeviceProgram, settings: AllocatorSettings, total_bytes: int) -> None:
        self._program = program
        self._instructions = [(each.opcode, each.operand, each.stream) for each in program.instructions]
        devices = sorted({block.device for block in program.blocks})
        self._allocators = {device: CachingAllocator(settings, total_bytes=total_bytes) for device in devices}
        self._allocated: list[tuple[CachingAllocator, Block]] = []
        self._step_peaks: dict[int, list[int]] = {device: [] for device in devices}
        self._peaks = dict.fromkeys(devices, 0)
        self._allocated_peaks = dict.fromkeys(devices, 0)

    def issue(self, number: int) -> None:
        """Issue the instruction of this number."""
        opcode, operand, stream = self._instructions[number]
        if opcode is Opcode.ALLOCATE:
            block = self._program.blocks[operand]
            allocator = self._allocators[block.device]
            self._allocated.append((allocator, allocator.allocate(block.requested_bytes, block.stream)))
        elif opcode is Opcode.FREE:
            allocator, held = self._allocated[-1 - operand]
            allocator.free(held)
        elif opcode is Opcode.RECORD_STREAM:
            allocator, held = self._allocated[-1 - operand]
            allocator.record_stream(held, stream)
        elif opcode is Opcode.EMPTY_CACHE:
            for allocator in self._allocators.values():
                allocator.empty_cache()

    def end_step(self) -> None:
        for device, allocator in self._allocators.items():
            self._step_peaks[device].append(allocator.peak_reserved_bytes)
        self._take_peaks()

    def _take_peaks(self) -> None:
        """Keep the peaks since the last time, and begin anew."""
        for device, allocator in self._allocators.items():
            self._peaks[device] = max(self._peaks[device], allocator.peak_reserved_bytes)
            self._allocated_peaks[device] = max(self._allocated_peaks[device], allocator.peak_allocated_bytes)
            allocator.reset_peak()

    def result(self) -> Mapping[int, ReservedMemory]:
        self._take_peaks()
        return {
            device: ReservedMemory(
                peak_bytes=self._peaks[device],
                peak_allocated_bytes=self._allocated_peaks[device],
                per_step_peak_bytes=tuple(self._step_peaks[device]),
            )
            for device in self._allocators
        }
