"""Programs by hand in which FSDP2 also replicates, sharded over all ranks: what is as large as a shard is smaller, all else is not."""

from dataclasses import replace

import pytest

from fakerun.analysis.memory.advice.fully_sharded import fully_sharded
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, check_program, program_of
from fakerun.records.memory import Category
from tests.unit.records_by_hand import MIB, block

SHARD = 32 * MIB
ELEMENTS = SHARD // 4
COPY_OUT, LERP, ADDCMUL, SQRT, ADDCDIV = (Instruction(Opcode.EXECUTE, number, 0) for number in range(5))
OPERATIONS = [
    Operation("fsdp.split_with_sizes_copy.default", ""),
    *(Operation(f"aten._foreach_{name}", "") for name in ("lerp_.Scalar", "addcmul_.Scalar", "sqrt.default", "addcdiv_.ScalarList")),
]


def begin(phase: Phase) -> Instruction:
    return Instruction(Opcode.BEGIN_PHASE, list(Phase).index(phase))


def trained(*, with_fsdp: bool = True) -> DeviceProgram:
    blocks = [
        block(8 * SHARD, Category.PARAMETER),  # as it was made, to be sharded
        block(SHARD, Category.PARAMETER),
        replace(block(SHARD // 2, Category.TEMPORARY, phase=Phase.FORWARD), stream=1),  # cast, to be gathered
        block(4 * SHARD, Category.COMMUNICATION, phase=Phase.FORWARD, module="layer"),
        block(3 * MIB, Category.ACTIVATION, phase=Phase.FORWARD, module="layer"),
        block(5 * MIB, Category.TEMPORARY, phase=Phase.BACKWARD, module="layer"),
        replace(block(SHARD, Category.GRADIENT, phase=Phase.BACKWARD), stream=1),
        block(SHARD, Category.OPTIMIZER_STATE, phase=Phase.OPTIMIZER),
        block(SHARD, Category.OPTIMIZER_STATE, phase=Phase.OPTIMIZER),
        block(SHARD, Category.TEMPORARY, phase=Phase.OPTIMIZER),
    ]
    forward: list[int | Instruction] = [begin(Phase.FORWARD), 2, 3, COPY_OUT if with_fsdp else LERP, 4, ~2]
    backward: list[int | Instruction] = [begin(Phase.BACKWARD), 5, 6, ~5, ~4, ~3]
    update: list[int | Instruction] = [begin(Phase.OPTIMIZER), 7, 8, LERP, ADDCMUL, 9, SQRT, ADDCDIV, ~9, ~6]
    sequence: list[int | Instruction] = [0, 1, ~0, *forward, *backward, *update]
    return program_of(blocks, sequence, operations=OPERATIONS, streams=(DeviceStream(device=0),) * 2, step_ends=(len(sequence),))


def test_what_is_as_large_as_a_shard_is_divided() -> None:
    ((reduction, edit),) = fully_sharded(Lifetimes(trained()), 0, [GradientReduction("dp_replicate", 2, ELEMENTS)])
    assert reduction.group == "dp_replicate"
    changed = edit.program()
    check_program(changed)
    sizes = [changed.blocks[each.operand].nbytes for each in changed.issued() if each.opcode is Opcode.ALLOCATE]
    half = SHARD // 2
    assert sizes == [8 * SHARD, half, half // 2, 4 * SHARD, 3 * MIB, 5 * MIB, half, half, half, half]


@pytest.mark.parametrize("elements", [ELEMENTS // 2, ELEMENTS + 1])
def test_nothing_if_the_group_reduces_something_else(elements: int) -> None:
    assert not list(fully_sharded(Lifetimes(trained()), 0, [GradientReduction("tp", 2, elements)]))


def test_nothing_without_fsdp2() -> None:
    assert not list(fully_sharded(Lifetimes(trained(with_fsdp=False)), 0, [GradientReduction("dp", 2, ELEMENTS)]))
