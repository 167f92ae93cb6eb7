"""`foreach` steps by hand, in a loop over the parameters: what is allocated then, by torch's loops."""

import pytest

from fakerun.analysis.memory.advice.for_loop_optimizer import with_for_loop
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.records.device_program import DeviceProgram, check_program
from tests.unit.foreach_by_hand import SIZES, allocated_peak, foreach_program

SMALL, LARGE = SIZES
ADAM = ("lerp_.Scalar", "mul_.Scalar", "addcmul_.Scalar", "sqrt.default", "div_.ScalarList", "add_.Scalar", "addcdiv_.ScalarList")


def peak_in_loop(program: DeviceProgram) -> int:
    ((line, edit),) = with_for_loop(Lifetimes(program), 0)
    assert str(line) == "train.py:9"
    changed = edit.program()
    check_program(changed)
    return allocated_peak(changed)


def test_adam_holds_the_denominator_of_one_parameter_while_it_makes_the_next() -> None:
    program = foreach_program(ADAM)
    states = 2 * (SMALL + LARGE)
    assert allocated_peak(program) == states + SMALL + LARGE
    assert peak_in_loop(program) == states + SMALL + 2 * LARGE


def test_decayed_gradients_of_adam_are_of_one_parameter() -> None:
    program = foreach_program(("add.List", *ADAM), made_by=("add.List", "sqrt.default"))
    assert peak_in_loop(program) == 2 * (SMALL + LARGE) + LARGE + SMALL + 2 * LARGE


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        (("add.List", "add_.List"), LARGE),
        (("add.List", "mul_.Scalar", "add_.List", "add_.List"), LARGE),
        (("add.List", "mul_.Scalar", "add_.List", "add_.List", "add_.List"), 2 * LARGE),  # Nesterov's momentum, too
        (("neg.default", "add_.List"), SMALL + LARGE),  # the next is negated before the last is let go
    ],
)
def test_sgd(operators: tuple[str, ...], expected: int) -> None:
    assert peak_in_loop(foreach_program(operators, states=0, made_by=operators[:1])) == expected


@pytest.mark.parametrize("operators", [("mul_.Scalar", "add_.List"), ("lerp_.Scalar", "sqrt.default", "add_.List"), (*ADAM, "pow.Scalar")])
def test_steps_without_temporaries_and_of_other_optimizers_stay(operators: tuple[str, ...]) -> None:
    assert not list(with_for_loop(Lifetimes(foreach_program(operators)), 0))
