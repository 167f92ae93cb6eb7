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
