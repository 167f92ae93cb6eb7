"""ProgramEdit: a device program with changes to what it allocates, frees and executes."""

from collections import defaultdict
from dataclasses import dataclass, replace

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.records.device_program import DeviceProgram, Instruction, Opcode
from fakerun.records.memory import MemoryBlock


@dataclass(frozen=True, slots=True)
class _Allocate:
    number: int


@dataclass(frozen=True, slots=True)
class _Free:
    number: int


_Item = _Allocate | _Free | Instruction


class ProgramEdit:
    """Changes to a program. Positions are those of the program as it was; what is inserted at one comes before the instruction there.

    Several insertions at one position come in the order in which they were asked for. Only what the allocator sees is kept true: the
    communication and the events of what is inserted are not.
    """

    def __init__(self, lifetimes: Lifetimes) -> None:
        self._lifetimes = lifetimes
        self._blocks: dict[int, MemoryBlock] = {}
        self._removed: set[int] = set()
        self._moved: dict[int, int] = {}
        self._dropped: set[int] = set()
        self._inserted: defaultdict[int, list[_Item]] = defaultdict(list)
        self._count = len(lifetimes.allocations)

    @property
    def is_empty(self) -> bool:
        return not (self._blocks or self._removed or self._moved or self._dropped or self._inserted)

    def remove(self, allocation: Allocation) -> None:
        """Never allocate it."""
        self._removed.add(allocation.number)

    def replace(self, allocation: Allocation, block: MemoryBlock) -> None:
        """Allocate this block in place of its own."""
        self._blocks[allocation.number] = block

    def free_at(self, allocation: Allocation, position: int) -> None:
        """Free it there, and not where it is freed; at the latest of the positions, if there are several."""
        free = _Free(allocation.number)
        before = self._moved.get(allocation.number)
        if before is not None:
            if position <= before:
                return
            self._inserted[before].remove(free)
        self._moved[allocation.number] = position
        self._inserted[position].append(free)

    def drop(self, position: int) -> None:
        """Leave the instruction out."""
        self._dropped.add(position)

    def allocate(self, position: int, block: MemoryBlock) -> int:
        """Allocate a new block there; returns the number by which `free` knows it."""
        number = self._count
        self._count += 1
        self._blocks[number] = block
        self._inserted[position].append(_Allocate(number))
        return number

    def free(self, position: int, number: int) -> None:
        """Free a new block there."""
        self._inserted[position].append(_Free(number))

    def execute(self, position: int, instruction: Instruction) -> None:
        """Issue this instruction there, too."""
        self._inserted[position].append(instruction)

    def program(self) -> DeviceProgram:
        """The changed program."""
        program, inserted = self._lifetimes.program, self._inserted
        made, freed = self._lifetimes.made_at, self._lifetimes.freed_at
        writer = _Writer(program)
        ends = []
        steps = iter((*program.step_ends, -1))
        end = next(steps)
        for position, instruction in enumerate(program.order):
            while position == end:
                ends.append(len(writer.order))
                end = next(steps)
            if position in inserted:
                self._insert(writer, position)
            if (number := made.get(position)) is not None:
                self._allocate(writer, number, instruction)
            elif (number := freed.get(position)) is None:
                self._repeat(writer, position)
            elif number not in self._moved and number not in self._removed:
                writer.free(number)
        self._insert(writer, len(program.order))
        return writer.result((*ends, *[len(writer.order)] * (len(program.step_ends) - len(ends))))

    def _insert(self, writer: "_Writer", position: int) -> None:
        for item in self._inserted.get(position, ()):
            self._write(writer, item)

    def _allocate(self, writer: "_Writer", number: int, instruction: int) -> None:
        """Allocate the block of this number, for which the program has this instruction, unless it is removed or replaced."""
        if number in self._blocks:
            writer.allocate(number, self._blocks[number])
        elif number not in self._removed:
            writer.allocate_again(number, instruction)

    def _repeat(self, writer: "_Writer", position: int) -> None:
        """Write an instruction that allocates and frees nothing, unless it is left out."""
        if position in self._dropped:
            return
        number = self._lifetimes.program.order[position]
        instruction = self._lifetimes.program.instructions[number]
        if instruction.opcode is Opcode.RECORD_STREAM:
            allocated = len(self._lifetimes.allocations_within(0, position))
            writer.record_stream(allocated - 1 - instruction.operand, instruction)
        else:
            writer.repeat(number)

    def _write(self, writer: "_Writer", item: _Item) -> None:
        if isinstance(item, _Allocate):
            writer.allocate(item.number, self._blocks[item.number])
        elif isinstance(item, _Free):
            if item.number not in self._removed:
                writer.free(item.number)
        else:
            writer.issue(item)


class _Writer:
    """A program as it is written: blocks and instructions get their numbers, and ages are counted anew."""

    def __init__(self, program: DeviceProgram) -> None:
        self._program = program
        self.order: list[int] = []
        self._kinds = {block: number for number, block in enumerate(program.blocks)}
        self._instructions = {instruction: number for number, instruction in enumerate(program.instructions)}
        self._frees = {each.operand: number for each, number in self._instructions.items() if each.opcode is Opcode.FREE}
        self._of_kind: dict[int, int] = {}
        """The number of the instruction that allocates a block, by the identity of the block: hashing it takes longer."""
        self._allocated = 0
        self._alive: dict[int, int] = {}
        """By number of the allocation, how many there were before."""

    def allocate(self, number: int, block: MemoryBlock) -> None:
        instruction = self._of_kind.get(id(block))
        if instruction is None:
            kind = self._kinds.setdefault(block, len(self._kinds))
            instruction = self._of_kind[id(block)] = self._number(Instruction(Opcode.ALLOCATE, kind))
        self.allocate_again(number, instruction)

    def allocate_again(self, number: int, instruction: int) -> None:
        """Issue the instruction of the original program that allocates this block."""
        self._alive[number] = self._allocated
        self._allocated += 1
        self.order.append(instruction)

    def free(self, number: int) -> None:
        age = self._allocated - 1 - self._alive.pop(number)
        known = self._frees.get(age)
        if known is None:
            known = self._frees[age] = self._number(Instruction(Opcode.FREE, age))
        self.order.append(known)

    def record_stream(self, number: int, instruction: Instruction) -> None:
        """The block is in use on the stream of the instruction, if it is alive."""
        if number in self._alive:
            age = self._allocated - 1 - self._alive[number]
            self.issue(Instruction(Opcode.RECORD_STREAM, age, instruction.stream))

    def issue(self, instruction: Instruction) -> None:
        self.order.append(self._number(instruction))

    def repeat(self, number: int) -> None:
        """Issue the instruction of this number of the original program."""
        self.order.append(number)

    def result(self, step_ends: tuple[int, ...]) -> DeviceProgram:
        return replace(
            self._program,
            blocks=tuple(self._kinds),
            instructions=tuple(self._instructions),
            order=tuple(self.order),
            step_ends=step_ends,
        )

    def _number(self, instruction: Instruction) -> int:
        return self._instructions.setdefault(instruction, len(self._instructions))
