"""Changes to a device program: what is moved, left out and inserted, and that steps and ages stay right."""

import pytest

from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, check_program, program_of
from tests.unit.records_by_hand import MIB, block

SMALL, LARGE, NEW = block(1 * MIB), block(2 * MIB), block(4 * MIB)
STREAMS = (DeviceStream(device=0), DeviceStream(device=0, index=0))
USED = Instruction(Opcode.RECORD_STREAM, 1, 1)  # of the block before the last

# positions:                   0  1  2     3   4   5  6
PROGRAM = program_of([SMALL, LARGE, SMALL], [0, 1, USED, ~0, ~1, 2, ~2], streams=STREAMS, step_ends=(5,))


def as_text(program: DeviceProgram) -> str:
    """`+1` allocates 1 MiB, `-1` frees it, `|` ends a step, `u1` uses it on another stream."""
    check_program(program)
    sizes: list[int] = []
    words = []
    for position, instruction in enumerate(program.issued()):
        words += ["|"] * program.step_ends.count(position)
        if instruction.opcode is Opcode.ALLOCATE:
            sizes.append(program.blocks[instruction.operand].nbytes // MIB)
            words.append(f"+{sizes[-1]}")
        else:
            word = {Opcode.FREE: "-", Opcode.RECORD_STREAM: "u"}[instruction.opcode]
            words.append(f"{word}{sizes[-1 - instruction.operand]}")
    return " ".join(words + ["|"] * program.step_ends.count(len(program.order)))


def edited() -> tuple[Lifetimes, ProgramEdit]:
    lifetimes = Lifetimes(PROGRAM)
    return lifetimes, ProgramEdit(lifetimes)


def test_without_changes_it_is_the_program() -> None:
    _, edit = edited()
    assert edit.is_empty
    assert edit.program() == PROGRAM
    assert as_text(PROGRAM) == "+1 +2 u1 -1 -2 | +1 -1"


def test_a_block_is_freed_earlier_and_later() -> None:
    lifetimes, edit = edited()
    edit.free_at(lifetimes.allocations[1], 7)
    edit.free_at(lifetimes.allocations[2], 6)
    assert as_text(edit.program()) == "+1 +2 u1 -1 | +1 -1 -2"


@pytest.mark.parametrize("positions", [(4, 6), (6, 4)])
def test_a_block_that_is_freed_at_several_positions_is_kept_to_the_last(positions: tuple[int, int]) -> None:
    lifetimes, edit = edited()
    for position in positions:
        edit.free_at(lifetimes.allocations[0], position)
    assert as_text(edit.program()) == "+1 +2 u1 -2 | +1 -1 -1"


def test_a_block_that_is_removed_is_used_and_freed_no_more() -> None:
    lifetimes, edit = edited()
    edit.remove(lifetimes.allocations[0])
    assert as_text(edit.program()) == "+2 -2 | +1 -1"


def test_a_use_after_an_earlier_free_is_left_out() -> None:
    lifetimes, edit = edited()
    edit.free_at(lifetimes.allocations[0], 1)
    assert as_text(edit.program()) == "+1 -1 +2 -2 | +1 -1"


def test_new_blocks_come_before_what_is_there() -> None:
    _, edit = edited()
    number = edit.allocate(5, NEW)  # where the second step begins
    edit.free(7, number)
    assert as_text(edit.program()) == "+1 +2 u1 -1 -2 | +4 +1 -1 -4"


def test_an_instruction_is_left_out() -> None:
    _, edit = edited()
    edit.drop(2)
    assert as_text(edit.program()) == "+1 +2 -1 -2 | +1 -1"


@pytest.mark.parametrize(("position", "alive"), [(0, False), (1, True), (3, True), (4, False)])
def test_a_block_is_alive_from_its_allocation_to_its_free(position: int, alive: bool) -> None:
    assert Lifetimes(PROGRAM).allocations[0].is_alive_at(position) is alive
