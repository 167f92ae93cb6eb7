"""How often a step executes each operation: on programs made by hand."""

from fakerun.analysis.time.operations.operations_of_step import operations_of_step
from fakerun.records.device_program import Instruction, Opcode, Operation, program_of
from fakerun.records.run import RankRecord

MM, ADD = Operation("aten.mm.default", "float32[2,2], float32[2,2]"), Operation("aten.add.Tensor", "float32[2,2], float32[2,2]")
EXECUTE_MM, EXECUTE_ADD = Instruction(Opcode.EXECUTE, 0), Instruction(Opcode.EXECUTE, 1)


def record(rank: int, sequence: list[Instruction], step_ends: list[int]) -> RankRecord:
    return RankRecord(rank=rank, program=program_of((), sequence, operations=(MM, ADD), step_ends=step_ends))


def test_the_last_completed_step_counts() -> None:
    sequence = [EXECUTE_ADD, EXECUTE_MM, EXECUTE_MM, Instruction(Opcode.SYNCHRONIZE), EXECUTE_ADD, EXECUTE_MM, EXECUTE_ADD]
    assert operations_of_step([record(0, sequence, [2, 5])]) == {MM: 1, ADD: 1}


def test_a_first_step_is_the_last_if_there_is_no_other() -> None:
    assert operations_of_step([record(0, [EXECUTE_MM, EXECUTE_MM], [2])]) == {MM: 2}


def test_ranks_of_one_program_count_once_and_other_programs_beside() -> None:
    first = record(0, [EXECUTE_MM], [1])
    same = RankRecord(rank=1, program=first.program)
    assert operations_of_step([first, same, record(2, [EXECUTE_MM, EXECUTE_ADD], [2])]) == {MM: 2, ADD: 1}


def test_without_a_completed_step_there_is_nothing() -> None:
    assert not operations_of_step([record(0, [EXECUTE_MM], [])])
