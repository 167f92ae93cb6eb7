"""Optimizer states sharded over a group that holds parameters alike, of programs by hand."""

from dataclasses import replace

import pytest

from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.replication import GradientReduction, gradient_reductions
from fakerun.analysis.memory.advice.sharded_states import Sharded, sharded
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.device_program import DeviceProgram, Instruction, Opcode, Operation, check_program
from tests.unit.foreach_by_hand import SIZES, allocated_peak, foreach_program
from tests.unit.records_by_hand import MIB, collective

SMALL, LARGE = SIZES
ADAM = ("lerp_.Scalar", "addcmul_.Scalar", "sqrt.default", "addcdiv_.ScalarList")
ELEMENTS = (SMALL + LARGE) // 4


def sharded_over_two(elements: int, operators: tuple[str, ...] = ADAM, **fields: object) -> list[Sharded]:
    program = foreach_program(operators, **fields)  # type: ignore[arg-type]
    return list(sharded(Lifetimes(program), 0, [GradientReduction("dp", 2, elements)]))


def changes(program: DeviceProgram) -> list[int]:
    """What the program allocates, and what it frees as negative numbers."""
    timeline = timeline_of(program)
    return [timeline.blocks[event].nbytes if event >= 0 else -timeline.blocks[~event].nbytes for event in timeline.events]


def test_a_rank_keeps_the_states_of_its_parameters() -> None:
    (found,) = sharded_over_two(ELEMENTS)
    check_program(found.edit.program())
    assert (found.group, found.group_size, found.position) == ("dp", 2, 0)
    assert allocated_peak(found.edit.program()) == 3 * LARGE  # two averages and a square root


def test_gradients_of_several_microbatches() -> None:
    assert sharded_over_two(3 * ELEMENTS)


def test_the_momentum_of_sgd() -> None:
    (found,) = sharded_over_two(ELEMENTS, ("add.List", "mul_.Scalar", "add_.List", "add_.List"), states=1, made_by=("add.List",))
    assert allocated_peak(found.edit.program()) == 2 * LARGE


def test_parameters_of_a_module_that_the_group_does_not_hold_alike() -> None:
    """Experts: only the gradients of the others are reduced, of which the last rank has none to keep states for."""
    (found,) = sharded_over_two(SMALL // 4)
    assert (found.position, found.others) == (0, f"layer{LARGE // MIB}")
    program = found.edit.program()
    check_program(program)
    assert allocated_peak(program) == 2 * (SMALL + LARGE) + LARGE


def test_those_step_after_the_others_and_make_their_states_then() -> None:
    (found,) = sharded_over_two(SMALL // 4)
    kept, root = [SMALL, SMALL], [SMALL, -SMALL]
    own, own_root = [LARGE, LARGE], [LARGE, -LARGE]
    assert changes(found.edit.program()) == [*kept, *root, *own, *own_root, *root, *own_root]


def test_an_optimizer_has_the_largest_of_its_parameters_first() -> None:
    (found,) = sharded(Lifetimes(foreach_program(ADAM)), 0, [GradientReduction("dp", 1, ELEMENTS)])
    roots = [LARGE, SMALL]
    freed = [-LARGE, -SMALL]
    assert changes(found.edit.program()) == [LARGE, LARGE, SMALL, SMALL, *roots, *freed, *roots, *freed]


def test_a_fused_step_makes_states_in_the_same_order() -> None:
    program = foreach_program((), made_by=())
    fused = Operation("aten._fused_adamw_.default", "")
    execute = len(program.instructions)
    first = program.order.index(program.instructions.index(Instruction(Opcode.ALLOCATE, 0)))
    order = (*program.order[: first + 4], execute, *program.order[first + 4 :])
    of_fused = replace(program, operations=(fused,), instructions=(*program.instructions, Instruction(Opcode.EXECUTE, 0)), order=order)
    (found,) = sharded(Lifetimes(of_fused), 0, [GradientReduction("dp", 1, ELEMENTS)])
    assert changes(found.edit.program()) == [LARGE, LARGE, SMALL, SMALL]


@pytest.mark.parametrize("elements", [ELEMENTS - 1, ELEMENTS // 2, 1, 0])
def test_nothing_if_the_group_reduces_something_else(elements: int) -> None:
    assert not sharded_over_two(elements)


def test_nothing_where_the_parameters_are_sharded() -> None:
    """FSDP2 gathers them, and may reduce the gradients of what it shards over another axis."""
    program = foreach_program(ADAM)
    copied = replace(program, operations=(*program.operations, Operation("fsdp.split_with_sizes_copy.default", "")))
    gathered = replace(copied.blocks[0], shape=(1,))
    allocate, execute = Instruction(Opcode.ALLOCATE, len(copied.blocks)), Instruction(Opcode.EXECUTE, len(program.operations))
    instructions = (*copied.instructions, allocate, execute)
    order = (*copied.order, len(instructions) - 2, len(instructions) - 1)
    of_fsdp = replace(copied, blocks=(*copied.blocks, gathered), instructions=instructions, order=order)
    assert not list(sharded(Lifetimes(of_fsdp), 0, [GradientReduction("dp", 2, ELEMENTS)]))


def test_what_a_group_reduces_in_the_last_step() -> None:
    calls = [
        collective(step=0),
        collective(step=1),
        collective(step=1, input_sizes=((10, 5),), phase=Phase.OTHER),
        collective(step=1, input_sizes=((1,),), phase=Phase.OTHER),  # a norm
        collective(step=1, input_sizes=((7,),), phase=Phase.FORWARD),
        collective(step=1, op=CollectiveOp.REDUCE_SCATTER_TENSOR),
        collective(step=1, group="tp", group_ranks=(0, 1), input_sizes=((20,),)),
        collective(step=1, group="alone", group_ranks=(0,)),
        collective(step=1, device=None),
        collective(step=2),
    ]
    assert gradient_reductions(calls, 2) == (GradientReduction("dp", 4, 300), GradientReduction("tp", 2, 20))
