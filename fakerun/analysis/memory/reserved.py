"""Reserved memory: what the caching allocators of a rank hold for its device program, workspaces of kernels included."""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.allocator.settings import AllocatorSettings
from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import DeviceProgram, Opcode


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


def reserved_memory(
    program: DeviceProgram,
    settings: AllocatorSettings,
    hardware: Accelerator,
    *,
    variables: Mapping[str, str] | None = None,
    capacity_bytes: int | None = None,
) -> Mapping[int, ReservedMemory]:
    """Replay a program; by ordinal of the device. `variables` are those of the rank's environment.

    Raises:
        AllocatorOutOfMemoryError: a device has `capacity_bytes` of memory for the allocator, and they are not enough.
    """
    allocators = DeviceAllocators(
        settings,
        hardware,
        operations=program.operations,
        streams=program.streams,
        settings_changes=program.settings,
        variables=variables or {},
        capacity_bytes=capacity_bytes,
    )
    peaks = _Peaks(allocators)
    instructions = [(each.opcode, each.operand, each.stream) for each in program.instructions]
    blocks = [(block.device, block.requested_bytes, block.stream) for block in program.blocks]
    ends = iter((*program.step_ends, -1))
    end = next(ends)
    for position, number in enumerate(program.order):
        while position == end:
            peaks.end_step()
            end = next(ends)
        opcode, operand, stream = instructions[number]
        if opcode is Opcode.ALLOCATE:
            allocators.allocate(*blocks[operand])
        elif opcode is Opcode.FREE:
            allocators.free(operand)
        elif opcode is Opcode.EXECUTE:
            allocators.execute(operand, stream)
        else:
            allocators.issue(opcode, operand, stream)
    while end >= 0:
        peaks.end_step()
        end = next(ends)
    return peaks.result()


class _Peaks:
    """The peaks of each step and of all."""

    def __init__(self, allocators: DeviceAllocators) -> None:
        self._allocators = allocators
        self._steps: list[Mapping[int, int]] = []
        self._peaks: dict[int, int] = {}
        self._allocated_peaks: dict[int, int] = {}

    def end_step(self) -> None:
        """A training step ends: keep its peaks, and begin anew."""
        self._steps.append({device: allocator.peak_reserved_bytes for device, allocator in self._allocators.all().items()})
        self._take()

    def _take(self) -> None:
        for device, allocator in self._allocators.all().items():
            self._peaks[device] = max(self._peaks.get(device, 0), allocator.peak_reserved_bytes)
            self._allocated_peaks[device] = max(self._allocated_peaks.get(device, 0), allocator.peak_allocated_bytes)
            allocator.reset_peak()

    def result(self) -> Mapping[int, ReservedMemory]:
        self._take()
        return {
            device: ReservedMemory(
                peak_bytes=self._peaks[device],
                peak_allocated_bytes=self._allocated_peaks[device],
                per_step_peak_bytes=tuple(step.get(device, 0) for step in self._steps),
            )
            for device in sorted(self._peaks)
        }
