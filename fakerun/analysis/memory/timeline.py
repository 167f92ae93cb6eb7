"""The allocations and frees of a device program, without what else it asks of the devices."""

from bisect import bisect_right
from dataclasses import dataclass

from fakerun.records.device_program import DeviceProgram, Opcode
from fakerun.records.memory import MemoryBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTimeline:
    """Blocks in order of allocation, and the order in which they came and went.

    `events`: `i >= 0` allocates `blocks[i]`, `~i` (negative) frees it. `step_ends[k]` is the number of events up to the end of
    step k; events after the last entry belong to the unfinished step.
    """

    blocks: tuple[MemoryBlock, ...] = ()
    events: tuple[int, ...] = ()
    step_ends: tuple[int, ...] = ()

    def step_of(self, event: int) -> int:
        """The training step in which the event with this index happens."""
        return bisect_right(self.step_ends, event)


def timeline_of(program: DeviceProgram) -> MemoryTimeline:
    """The memory events of a program; `blocks` has each allocation, so equal ones are one object several times."""
    allocates = [
        program.blocks[instruction.operand] if instruction.opcode is Opcode.ALLOCATE else None for instruction in program.instructions
    ]
    age_freed = [instruction.operand if instruction.opcode is Opcode.FREE else None for instruction in program.instructions]
    blocks: list[MemoryBlock] = []
    events: list[int] = []
    step_ends: list[int] = []
    ends = iter((*program.step_ends, -1))
    end = next(ends)
    for position, number in enumerate(program.order):
        while position == end:
            step_ends.append(len(events))
            end = next(ends)
        block, age = allocates[number], age_freed[number]
        if block is not None:
            events.append(len(blocks))
            blocks.append(block)
        elif age is not None:
            events.append(~(len(blocks) - 1 - age))
    step_ends.extend([len(events)] * (len(program.step_ends) - len(step_ends)))
    return MemoryTimeline(blocks=tuple(blocks), events=tuple(events), step_ends=tuple(step_ends))
