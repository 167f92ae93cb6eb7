"""Which block an operation is taken to read last, in programs by hand."""

from fakerun.analysis.memory.advice.last_uses import last_uses
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.module_visits import Visit
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import Category
from tests.unit.records_by_hand import MIB, block


def test_what_communication_receives_is_known_to_the_operation_after_it() -> None:
    """It is read there, not what was computed before it."""
    make, read = (Instruction(Opcode.EXECUTE, number, 0) for number in range(2))
    computed, read_first, received, product = (block(MIB, Category.ACTIVATION, phase=Phase.FORWARD, module="experts") for _ in range(4))
    sequence: list[int | Instruction] = [0, make, 1, read, 2, Instruction(Opcode.COMMUNICATE), 3, read]
    operations = [Operation("aten.ones.default", ""), Operation("aten.mul.Tensor", f"float32[{MIB // 4}]")]
    blocks = [computed, read_first, received, product]
    lifetimes = Lifetimes(program_of(blocks, sequence, operations=operations, streams=(DeviceStream(device=0),)))
    done = last_uses(lifetimes, Visit("experts", Phase.FORWARD, lifetimes.allocations), None)
    assert done[0] == 4
    assert done[2] == 8
