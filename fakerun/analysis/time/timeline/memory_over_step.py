"""How much memory of a device is allocated, and how much its caching allocator reserves, while the host issues the measured step."""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.analysis.memory.allocator_settings import allocator_settings
from fakerun.analysis.time.timeline.spans import RankTimeline
from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.job.spec import JobSpec
from fakerun.records.device_program import DeviceProgram, Opcode


@dataclass(frozen=True, slots=True, eq=False)
class MemoryOverStep:
    """What is allocated and what is reserved on one device, in bytes, a column each.

    `times` are of the host; the others have the most that anything since the time before led to.
    """

    times: list[float]
    allocated: list[int]
    reserved: list[int]


def memory_over_step(job: JobSpec, rank: RankTimeline, step: int) -> Mapping[int, MemoryOverStep]:
    """By ordinal of the device; a sample for each operation before which something changed, and one for the end.

    `step` is that of the timeline. Allocations are requests of the host: they happen when it issues, not when kernels run.
    """
    program = rank.program
    start, end = step_range(program, step)
    levels = _Levels(program, _allocators(job, rank))
    for number in program.order[:start]:
        levels.apply(number)
    begin, reserved = rank.host_begin_s, levels.reserved_now()
    samples = {device: MemoryOverStep([begin], [level], [reserved[device]]) for device, level in levels.allocated.items()}
    levels.clear()
    issued, following = rank.operations.issued, rank.operations.operations
    position = 0
    executes = [each.operand if each.opcode in (Opcode.EXECUTE, Opcode.REPLAY) else None for each in program.instructions]
    for number in program.order[start:end]:
        levels.apply(number)
        operation = executes[number]
        if operation is not None and position < len(following) and operation == following[position]:
            levels.sample(samples, issued[position], begin)
            position += 1
    levels.sample(samples, rank.host_end_s, begin)
    return dict(sorted(samples.items()))


def _allocators(job: JobSpec, rank: RankTimeline) -> DeviceAllocators:
    """The allocators of the rank, which have served nothing yet."""
    record, program = rank.record, rank.program
    return DeviceAllocators(
        allocator_settings(job, record),
        job.hardware,
        operations=program.operations,
        streams=program.streams,
        settings_changes=program.settings,
        pool_kinds=program.pools,
        variables=record.memory_variables,
    )


def step_range(program: DeviceProgram, step: int) -> tuple[int, int]:
    """The positions in `order` of the first instruction of a completed step, and of the first one after it."""
    return (program.step_ends[step - 1] if step else 0), program.step_ends[step]


class _Levels:
    """What is allocated on each device now, and the most of it and of what is reserved since the last sample, of devices that changed."""

    def __init__(self, program: DeviceProgram, allocators: DeviceAllocators) -> None:
        self.allocated: dict[int, int] = {}
        self._most: dict[int, int] = {}
        self._reserved: dict[int, int] = {}
        self._program = program
        self._allocators = allocators
        self._blocks: list[int] = []
        """The number of the block of each allocation."""

    def apply(self, number: int) -> None:
        instruction, allocators = self._program.instructions[number], self._allocators
        if instruction.opcode is Opcode.ALLOCATE:
            kind = self._program.blocks[instruction.operand]
            self._blocks.append(instruction.operand)
            self._change(instruction.operand, 1)
            reserved = allocators.allocate(kind.device, kind.requested_bytes, kind.stream).reserved_bytes
            self._reserved[kind.device] = max(self._reserved.get(kind.device, 0), reserved)
        elif instruction.opcode is Opcode.FREE:
            self._change(self._blocks[-1 - instruction.operand], -1)
            allocators.free(instruction.operand)
        else:
            allocators.issue(instruction.opcode, instruction.operand, instruction.stream)

    def _change(self, block: int, sign: int) -> None:
        kind = self._program.blocks[block]
        before = self.allocated.get(kind.device, 0)
        after = self.allocated[kind.device] = before + sign * kind.nbytes
        self._most[kind.device] = max(self._most.get(kind.device, 0), after)

    def sample(self, samples: dict[int, MemoryOverStep], time: float, begin: float) -> None:
        """Add what was most since the last sample, of devices on which something was allocated or freed; `begin` is that of the step."""
        now = self.reserved_now()
        for device, most in self._most.items():
            over = samples.setdefault(device, MemoryOverStep([begin], [0], [0]))
            over.times.append(time)
            over.allocated.append(most)
            over.reserved.append(max(self._reserved.get(device, 0), now[device]))
        self.clear()

    def reserved_now(self) -> Mapping[int, int]:
        """Also what kernels request for themselves."""
        return {device: allocator.reserved_bytes for device, allocator in self._allocators.all().items()}

    def clear(self) -> None:
        """Begin anew with what is most."""
        self._most.clear()
        self._reserved.clear()
