"""Gathered parameters of a unit: they are freed after forward and gathered again, unless further microbatches use them meanwhile."""

from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.resharding import resharded
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, check_program, program_of
from fakerun.records.memory import Category
from tests.unit.records_by_hand import MIB, block

GATHERED = block(8 * MIB, Category.COMMUNICATION, phase=Phase.FORWARD, module="layer", stream=1)
COPY = block(4 * MIB, Category.COMMUNICATION, phase=Phase.FORWARD, module="layer")
ACTIVATION = block(2 * MIB, Category.ACTIVATION, phase=Phase.FORWARD, module="layer")
LOSS = block(1 * MIB, Category.ACTIVATION, phase=Phase.FORWARD)
GRADIENT = block(3 * MIB, phase=Phase.BACKWARD, module="layer")

STREAMS = (DeviceStream(device=0), DeviceStream(device=0, index=0))
COPY_OUT = Instruction(Opcode.EXECUTE, 0, 0)
FORWARD, BACKWARD = (Instruction(Opcode.BEGIN_PHASE, tuple(Phase).index(phase)) for phase in (Phase.FORWARD, Phase.BACKWARD))


def trained(microbatches: int) -> DeviceProgram:
    """A unit is gathered once, and stays so until the last backward is done."""
    blocks = [GATHERED, COPY]
    sequence: list[int | Instruction] = [FORWARD, 0, 1, COPY_OUT, ~0]
    for _ in range(microbatches):
        first = len(blocks)
        blocks += [ACTIVATION, LOSS, GRADIENT]
        sequence += [FORWARD, first, first + 1, BACKWARD, first + 2, ~first, ~(first + 1), ~(first + 2)]
    operation = Operation("fsdp.split_with_sizes_copy.default", "")
    return program_of(blocks, [*sequence, ~1], operations=[operation], streams=STREAMS)


def test_a_unit_is_freed_after_forward_and_gathered_for_backward() -> None:
    ((modules, edit),) = resharded(Lifetimes(trained(1)), 0)
    changed = edit.program()
    check_program(changed)
    assert modules == ("layer",)
    sizes: list[int] = []
    words = []
    for instruction in changed.issued():
        if instruction.opcode is Opcode.ALLOCATE:
            sizes.append(changed.blocks[instruction.operand].nbytes // MIB)
            words.append(f"+{sizes[-1]}")
        elif instruction.opcode is Opcode.FREE:
            words.append(f"-{sizes[-1 - instruction.operand]}")
    assert " ".join(words) == "+8 +4 -8 +2 -4 +1 +8 +4 -8 +3 -2 -1 -3 -4"


def test_nothing_is_proposed_where_several_microbatches_use_it() -> None:
    assert not list(resharded(Lifetimes(trained(2)), 0))
