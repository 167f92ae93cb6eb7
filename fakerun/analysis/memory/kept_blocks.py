"""What every step adds to what is allocated: tensors of the last step that are kept beside those of the step before."""

from collections import Counter
from collections.abc import Iterable, Mapping

from fakerun.records.device_program import DeviceProgram, Opcode
from fakerun.records.memory import MemoryBlock


def kept_by_each_step(program: DeviceProgram) -> Mapping[int, int]:
    """Bytes by ordinal of the device; without devices on which nothing is kept.

    At the end of the last step, blocks that were allocated in it count if as many of the step before, from the same line and module, are
    allocated still: a list of losses grows with both. A variable that is assigned anew, or a state that is made once, has one of them.
    Of two steps the first has no predecessor in which what follows an optimizer step was done, so that all count that the second adds.
    """
    if len(program.step_ends) < 2:
        return {}
    before, last, freed = _around_last_step(program)
    numbers = Counter(map(_origin, before))
    kept: Counter[int] = Counter()
    for block in last:
        if numbers[_origin(block)] > 0:
            numbers[_origin(block)] -= 1
            kept[block.device] += block.nbytes
    if len(program.step_ends) == 2:
        kept |= _bytes(last) - _bytes(freed)
    return kept


def _origin(block: MemoryBlock) -> tuple[object, ...]:
    return block.device, block.call_site, block.module, block.phase, block.category


def _bytes(blocks: Iterable[MemoryBlock]) -> Counter[int]:
    total: Counter[int] = Counter()
    for block in blocks:
        total[block.device] += block.nbytes
    return total


def _around_last_step(program: DeviceProgram) -> tuple[list[MemoryBlock], list[MemoryBlock], list[MemoryBlock]]:
    """Blocks: of the step before the last one and of the last one, those that are allocated in the end; those of earlier that it frees."""
    starts, end = (0, *program.step_ends[:-1])[-2:], program.step_ends[-1]
    allocated: list[tuple[int, int]] = []
    alive: dict[int, None] = {}
    freed: list[MemoryBlock] = []
    for position, number in enumerate(program.order[:end]):
        instruction = program.instructions[number]
        if instruction.opcode is Opcode.ALLOCATE:
            alive[len(allocated)] = None
            allocated.append((instruction.operand, position))
        elif instruction.opcode is Opcode.FREE:
            block = len(allocated) - 1 - instruction.operand
            del alive[block]
            if position >= starts[1] > allocated[block][1]:
                freed.append(program.blocks[allocated[block][0]])
    found: tuple[list[MemoryBlock], list[MemoryBlock]] = ([], [])
    for kind, position in map(allocated.__getitem__, alive):
        if position >= starts[0]:
            found[position >= starts[1]].append(program.blocks[kind])
    return *found, freed
