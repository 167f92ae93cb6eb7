"""Adam's averages in bfloat16, of programs by hand."""

from dataclasses import replace

from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.state_precision import with_bfloat16_states
from fakerun.records.device_program import Operation, check_program
from fakerun.records.memory import Category
from tests.unit.foreach_by_hand import SIZES, allocated_peak, foreach_program

ADAM = ("lerp_.Scalar", "addcmul_.Scalar", "sqrt.default", "addcdiv_.ScalarList")
STEP_NUMBERS = 2 * 512


def test_the_averages_are_half_as_large_and_the_step_is_fused() -> None:
    (edit,) = with_bfloat16_states(Lifetimes(foreach_program(ADAM)), 0)
    changed = edit.program()
    check_program(changed)
    assert allocated_peak(changed) == sum(SIZES) + STEP_NUMBERS
    assert {each.dtype for each in changed.blocks if each.category is Category.OPTIMIZER_STATE} == {"bfloat16", "float32"}


def test_a_step_that_is_fused_keeps_what_it_has() -> None:
    fused = replace(foreach_program(("_",), made_by=()), operations=(Operation("aten._fused_adamw_.default", ""),))
    (edit,) = with_bfloat16_states(Lifetimes(fused), 0)
    assert allocated_peak(edit.program()) == sum(SIZES)


def test_states_that_are_not_two_averages_for_each_parameter_stay() -> None:
    assert not list(with_bfloat16_states(Lifetimes(foreach_program(ADAM, states=3)), 0))
    assert not list(with_bfloat16_states(Lifetimes(foreach_program(("mul_.Scalar", "add_.List"), states=1)), 0))


def test_averages_in_bfloat16_stay() -> None:
    program = foreach_program(ADAM)
    blocks = tuple(replace(each, dtype="bfloat16") for each in program.blocks)
    assert not list(with_bfloat16_states(Lifetimes(replace(program, blocks=blocks)), 0))
