"""Lifetimes: when each block of a device program is allocated and freed, and what the program does at each position."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, Instruction, Opcode, without_compiled_code
from fakerun.records.memory import MemoryBlock

_PHASES = tuple(Phase)
_TENSOR = re.compile(r"(\w+)\[([\d,]*)\]")

Size = tuple[str, int]
"""The dtype of a tensor, and the number of its elements: what a view has in common with its storage's first tensor."""


@dataclass(slots=True)
class Allocation:
    """The allocation of this number. `allocated_at` and `freed_at` are positions in `DeviceProgram.order`; None if it is never freed."""

    number: int
    block: MemoryBlock
    allocated_at: int
    freed_at: int | None = None

    @property
    def size(self) -> Size:
        return self.block.dtype, prod(self.block.shape)

    def is_alive_at(self, position: int) -> bool:
        """Whether it is allocated just before the instruction at this position."""
        return self.allocated_at < position and (self.freed_at is None or position <= self.freed_at)


class Lifetimes:
    """The index of one program: its allocations by number, and the instructions of which a change wants to know where they are."""

    def __init__(self, program: DeviceProgram) -> None:
        self.program = program = without_compiled_code(program)
        self.allocations: list[Allocation] = []
        self.executions: list[int] = []
        """The positions at which operations are executed, ascending."""
        self._phase_starts: list[int] = []
        self._phases: list[Phase] = []
        instructions = program.instructions
        for position, number in enumerate(program.order):
            instruction = instructions[number]
            opcode = instruction.opcode
            if opcode is Opcode.ALLOCATE:
                self.allocations.append(Allocation(len(self.allocations), program.blocks[instruction.operand], position))
            elif opcode is Opcode.FREE:
                self.allocations[-1 - instruction.operand].freed_at = position
            elif opcode is Opcode.EXECUTE:
                self.executions.append(position)
            elif opcode is Opcode.BEGIN_PHASE:
                self._phase_starts.append(position)
                self._phases.append(_PHASES[instruction.operand])

    def at(self, position: int) -> Instruction:
        """The instruction at this position."""
        return self.program.instructions[self.program.order[position]]

    def phase_at(self, position: int) -> Phase:
        """The phase to which the instruction at this position belongs."""
        index = bisect_right(self._phase_starts, position) - 1
        return self._phases[index] if index >= 0 else Phase.OTHER

    def step_of(self, position: int) -> int:
        """The training step in which the instruction at this position is issued."""
        return bisect_right(self.program.step_ends, position)

    def next_phase(self, position: int, phase: Phase) -> int | None:
        """The first position from here on at which this phase begins."""
        first = bisect_right(self._phase_starts, position - 1)
        starts = zip(self._phase_starts[first:], self._phases[first:], strict=True)
        return next((start for start, each in starts if each is phase), None)

    def allocations_within(self, start: int, end: int) -> list[Allocation]:
        """Those that are made at positions from `start` up to `end`."""
        return self.allocations[bisect_right(self._positions, start - 1) : bisect_right(self._positions, end - 1)]

    def next_allocation(self, position: int) -> int:
        """The first position from here on at which something is allocated; the end of the program if nothing is."""
        index = bisect_right(self._positions, position - 1)
        return self._positions[index] if index < len(self._positions) else len(self.program.order)

    def executions_within(self, start: int, end: int) -> list[int]:
        """The positions from `start` up to `end` at which operations are executed."""
        return self.executions[bisect_right(self.executions, start - 1) : bisect_right(self.executions, end - 1)]

    def next_execution(self, position: int) -> int | None:
        index = bisect_right(self.executions, position - 1)
        return self.executions[index] if index < len(self.executions) else None

    def operation_at(self, position: int) -> str:
        """The name of the operation that is executed at this position, `aten.mm.default`."""
        return self.program.operations[self.at(position).operand].name

    def argument_sizes(self, position: int) -> frozenset[Size]:
        """The sizes of the tensors that the operation at this position takes."""
        return self._sizes_of_operations[self.at(position).operand]

    def argument_count(self, position: int) -> int:
        """How many tensors, or lists of them, the operation at this position takes."""
        return len(_TENSOR.findall(self.program.operations[self.at(position).operand].arguments))

    def results_of(self, position: int) -> list[Allocation]:
        """What was allocated for the operation that is executed at this position: right before it."""
        start = position
        while start and self.at(start - 1).opcode is Opcode.ALLOCATE:
            start -= 1
        return self.allocations_within(start, position)

    @cached_property
    def optimizer_executions(self) -> list[int]:
        """The positions at which optimizers execute operations, ascending."""
        return [position for position in self.executions if self.phase_at(position) is Phase.OPTIMIZER]

    @cached_property
    def made_at(self) -> dict[int, int]:
        """By position, the number of the block that is allocated there."""
        return {each.allocated_at: each.number for each in self.allocations}

    @cached_property
    def freed_at(self) -> dict[int, int]:
        """By position, the number of the block that is freed there."""
        return {each.freed_at: each.number for each in self.allocations if each.freed_at is not None}

    @cached_property
    def _positions(self) -> list[int]:
        return [allocation.allocated_at for allocation in self.allocations]

    @cached_property
    def _sizes_of_operations(self) -> list[frozenset[Size]]:
        return [frozenset(_sizes(operation.arguments)) for operation in self.program.operations]

    @cached_property
    def peak_position(self) -> int:
        """Just after the instruction with which most bytes are allocated, over all devices."""
        allocated = most = peak = 0
        changes = {each.allocated_at: each.block.nbytes for each in self.allocations}
        changes |= {each.freed_at: -each.block.nbytes for each in self.allocations if each.freed_at is not None}
        for position in sorted(changes):
            allocated += changes[position]
            if allocated > most:
                most, peak = allocated, position + 1
        return peak


def _sizes(arguments: str) -> Iterator[Size]:
    for dtype, shape in _TENSOR.findall(arguments):
        yield dtype, prod(int(size) for size in shape.split(",") if size)


def allocated_peak_bytes(program: DeviceProgram, device: int) -> int:
    """The most that a program has allocated at a time on a device, without what kernels take for themselves."""
    sizes = [
        (program.blocks[each.operand].nbytes if program.blocks[each.operand].device == device else 0)
        if each.opcode is Opcode.ALLOCATE
        else None
        for each in program.instructions
    ]
    ages = [each.operand if each.opcode is Opcode.FREE else None for each in program.instructions]
    made: list[int] = []
    allocated = most = 0
    for number in program.order:
        nbytes, age = sizes[number], ages[number]
        if nbytes is not None:
            made.append(nbytes)
            allocated += nbytes
            most = max(most, allocated)
        elif age is not None:
            allocated -= made[-1 - age]
    return most
