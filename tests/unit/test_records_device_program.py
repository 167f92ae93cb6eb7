"""Device programs: their numbers are checked, and what tells of compiled code can be left out."""

from dataclasses import replace

import pytest

from fakerun.records.device_program import (
    BlockUses,
    DeviceProgram,
    DeviceStream,
    Instruction,
    Opcode,
    Operation,
    PoolKind,
    check_program,
    program_of,
    without_compiled_code,
)

BEGIN, USE, END = (Instruction(opcode) for opcode in (Opcode.BEGIN_COMPILED, Opcode.USE_BLOCKS, Opcode.END_COMPILED))
EXECUTE, REPLAY = Instruction(Opcode.EXECUTE), Instruction(Opcode.REPLAY)


def compiled() -> DeviceProgram:
    return program_of(
        [],
        [BEGIN, EXECUTE, USE, EXECUTE, USE, END, REPLAY, BEGIN, EXECUTE],
        operations=(Operation("aten.sin.default", "float32[8]", "float32[8]"),),
        streams=(DeviceStream(device=0),),
        uses=(BlockUses(reads=(0,), writes=(1,)),),
        step_ends=(2, 6, 9),
    )


def test_a_program_without_compiled_code_asks_for_the_same() -> None:
    program = without_compiled_code(compiled())
    check_program(program)
    assert list(program.issued()) == [EXECUTE, EXECUTE, REPLAY, EXECUTE]
    assert program.step_ends == (1, 2, 4)
    assert without_compiled_code(program_of([], [EXECUTE])).order == (0,)


@pytest.mark.parametrize("field", ["uses", "operations"])
def test_what_instructions_refer_to_must_be_there(field: str) -> None:
    check_program(compiled())
    with pytest.raises(ValueError, match="refers to something that is not there"):
        check_program(replace(compiled(), **{field: ()}))


def with_pool(*opcodes: Opcode, operand: int = 0) -> DeviceProgram:
    """A pool is named, then these are issued for it."""
    sequence = [Instruction(Opcode.NAME_POOL), *(Instruction(opcode, operand) for opcode in opcodes)]
    return program_of([], sequence, streams=(DeviceStream(device=0),), pools=(PoolKind(),))


def test_a_pool_is_begun_ended_and_released_in_turn() -> None:
    used = (Opcode.BEGIN_POOL, Opcode.END_POOL, Opcode.RELEASE_POOL)
    check_program(with_pool(Opcode.HOLD_POOL, *used, *used, Opcode.DELETE_POOL))
    check_program(with_pool(Opcode.BEGIN_CAPTURE, Opcode.SERVE_FROM, Opcode.END_POOL, operand=0))


@pytest.mark.parametrize(
    "wrong",
    [
        with_pool(Opcode.END_POOL),
        with_pool(Opcode.RELEASE_POOL),
        with_pool(Opcode.HOLD_POOL, Opcode.DELETE_POOL, Opcode.DELETE_POOL),
        with_pool(Opcode.BEGIN_POOL, Opcode.BEGIN_CAPTURE),
        with_pool(Opcode.BEGIN_POOL, operand=1),
        with_pool(Opcode.SERVE_FROM, operand=2),
        replace(with_pool(), pools=()),
    ],
)
def test_what_a_pool_was_not_used_for_does_not_end(wrong: DeviceProgram) -> None:
    with pytest.raises(ValueError, match=r"does not follow from what|refers to something"):
        check_program(wrong)
