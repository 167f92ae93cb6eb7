"""What a step executes: how often each operation, which decides how much of it computes, and so the clock of a card at its power limit."""

from collections import Counter
from collections.abc import Iterable

from fakerun.records.device_program import DeviceProgram, Opcode, Operation
from fakerun.records.run import RankRecord


def operations_of_step(records: Iterable[RankRecord]) -> Counter[Operation]:
    """How often the records execute each operation in the last step that they completed; ranks that share a program count once."""
    programs = {id(record.program): record.program for record in records}
    counts: Counter[Operation] = Counter()
    for program in programs.values():
        counts.update(_of(program))
    return counts


def _of(program: DeviceProgram) -> Counter[Operation]:
    if not program.step_ends:
        return Counter()
    begin = program.step_ends[-2] if len(program.step_ends) > 1 else 0
    instructions: Counter[int] = Counter(program.order[begin : program.step_ends[-1]])
    counts: Counter[Operation] = Counter()
    for number, count in instructions.items():
        instruction = program.instructions[number]
        if instruction.opcode is Opcode.EXECUTE:
            counts[program.operations[instruction.operand]] += count
    return counts
