"""The last step of a device program as one that can follow itself, so that a replay can go on for longer than was simulated."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from fakerun.records.device_program import OF_POOLS, DeviceProgram, Opcode

InstructionNumbers: TypeAlias = tuple[Opcode, int, int]
"""An instruction: opcode, operand, stream."""

_NAMES_A_BLOCK = frozenset({Opcode.FREE, Opcode.RECORD_STREAM})
"""Instructions whose operand is the number of blocks that were allocated after theirs."""


def repeatable_last_step(program: DeviceProgram) -> Sequence[InstructionNumbers] | None:
    """The instructions of the last step, so that they can follow it: what it frees of the step before is what it leaves itself.

    None if it cannot follow itself: if it does not leave as many blocks of each kind as it frees of earlier ones, if it makes private
    memory pools or does not leave them as it found them, or there is no step before it. Of each kind the first that is left is taken for
    the first that was freed.
    """
    if len(program.step_ends) < 2 or not _leaves_pools(program):
        return None
    start, end = program.step_ends[-2:]
    instructions = [(each.opcode, each.operand, each.stream) for each in program.instructions]
    allocates = [opcode is Opcode.ALLOCATE for opcode, _, _ in instructions]
    kinds = [instructions[number][1] for number in program.order[:end] if allocates[number]]
    count = before = sum(map(allocates.__getitem__, program.order[:start]))
    left = dict.fromkeys(range(before, len(kinds)))
    freed: dict[int, int] = {}
    found = list(map(instructions.__getitem__, program.order[start:end]))
    for place, (opcode, operand, _) in enumerate(found):
        if opcode is Opcode.ALLOCATE:
            count += 1
        elif opcode in _NAMES_A_BLOCK:
            block = count - 1 - operand
            if block < before and opcode is Opcode.RECORD_STREAM:
                return None
            if block < before:
                freed[block] = place
            elif opcode is Opcode.FREE:
                del left[block]
    successors = _paired(program, kinds, sorted(freed), left)
    if successors is None:
        return None
    for block, place in freed.items():
        opcode, age, stream = found[place]
        found[place] = (opcode, age + (len(kinds) - before) + block - successors[block], stream)
    return found


_HOLDS = {Opcode.HOLD_POOL: 1, Opcode.BEGIN_POOL: 1, Opcode.BEGIN_CAPTURE: 1, Opcode.RELEASE_POOL: -1, Opcode.DELETE_POOL: -1}
_BEGINS = {Opcode.BEGIN_POOL: 1, Opcode.BEGIN_CAPTURE: 1, Opcode.END_POOL: -1}


def _leaves_pools(program: DeviceProgram) -> bool:
    """Whether no private pool is made in the last step, and those that there are are used after it as before."""
    if not program.pools:
        return True
    start, end = program.step_ends[-2:]
    balance: dict[tuple[int, int], tuple[int, int]] = {}
    for instruction in map(program.instructions.__getitem__, program.order[start:end]):
        opcode, key = instruction.opcode, (instruction.operand, instruction.stream)
        if opcode is Opcode.NAME_POOL:
            return False
        if opcode in OF_POOLS:
            held, begun = balance.get(key, (0, 0))
            balance[key] = held + _HOLDS.get(opcode, 0), begun + _BEGINS.get(opcode, 0)
    return all(each == (0, 0) for each in balance.values())


def _paired(program: DeviceProgram, kinds: Sequence[int], freed: Iterable[int], left: Iterable[int]) -> dict[int, int] | None:
    """For each block that is freed the one that is left in its place, with the same size on the same stream; None if there is none."""

    def by_size(blocks: Iterable[int]) -> dict[tuple[int, int], list[int]]:
        found: dict[tuple[int, int], list[int]] = {}
        for block in blocks:
            kind = program.blocks[kinds[block]]
            found.setdefault((kind.requested_bytes, kind.stream), []).append(block)
        return found

    freed_by_size, left_by_size = by_size(freed), by_size(left)
    if {size: len(blocks) for size, blocks in freed_by_size.items()} != {size: len(blocks) for size, blocks in left_by_size.items()}:
        return None
    return {block: other for size, blocks in freed_by_size.items() for block, other in zip(blocks, left_by_size[size], strict=True)}


def after_repetitions(program: DeviceProgram, repetitions: int) -> Iterator[InstructionNumbers]:
    """What follows the last step. Blocks are named by how many were allocated since: what is older than that step is older by as many."""
    start, end = (0, 0, *program.step_ends)[-2:]
    allocates = [each.opcode is Opcode.ALLOCATE for each in program.instructions]
    in_last_step = sum(map(allocates.__getitem__, program.order[start:end])) if repetitions else 0
    allocated = 0
    for number in program.order[end:]:
        instruction = program.instructions[number]
        operand = instruction.operand
        if instruction.opcode is Opcode.ALLOCATE:
            allocated += 1
        elif instruction.opcode in _NAMES_A_BLOCK and operand >= allocated + in_last_step:
            operand += repetitions * in_last_step
        yield instruction.opcode, operand, instruction.stream
