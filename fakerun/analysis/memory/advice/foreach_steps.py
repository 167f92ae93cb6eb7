"""Steps of torch's optimizers that go over lists of parameters (`foreach=True`, the default on CUDA), known by their operators."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.call_site import CallSite
from fakerun.records.collective import Phase
from fakerun.records.memory import Category

_FOREACH = "aten._foreach_"
_ADAM_ALWAYS = {"lerp_.Scalar", "addcmul_.Scalar", "sqrt.default", "addcdiv_.ScalarList"}
_ADAM_SOMETIMES = {"mul_.Scalar", "div_.ScalarList", "add_.Scalar", "add_.List", "add.List", "maximum_.List", "neg.default"}
_SGD = {"add_.List", "mul_.Scalar", "add.List", "neg.default"}


@dataclass(frozen=True, slots=True)
class ForeachStep:
    """The step of one list of parameters: where its operators are executed, their names without `aten._foreach_`, and what they make.

    `results[k]` has what operator k makes beside the states: a tensor for each parameter, or nothing.
    """

    executions: tuple[int, ...]
    names: tuple[str, ...]
    results: tuple[tuple[Allocation, ...], ...]

    @property
    def call_site(self) -> CallSite | None:
        """The line of the step; None if it makes nothing."""
        return next((made[0].block.call_site for made in self.results if made), None)

    def results_of(self, name: str) -> tuple[Allocation, ...]:
        """What the first operator of this name makes; empty if there is none."""
        return next((made for each, made in zip(self.names, self.results, strict=True) if each == name), ())


def adam_steps(lifetimes: Lifetimes, device: int) -> list[ForeachStep]:
    """The steps of Adam and AdamW (torch/optim/adam.py, 2.11 to 2.14); empty if there are other `foreach` steps, too."""
    steps = list(_steps(lifetimes, device, "addcdiv_.ScalarList"))
    names = {name for step in steps for name in step.names}
    # NAdam has the same operators, and divides twice.
    are_adam = _ADAM_ALWAYS <= names <= _ADAM_ALWAYS | _ADAM_SOMETIMES and all("sqrt.default" in step.names for step in steps)
    return steps if are_adam else []


def sgd_steps(lifetimes: Lifetimes, device: int) -> list[ForeachStep]:
    """The steps of SGD (torch/optim/sgd.py, 2.11 to 2.14); empty if there are other `foreach` steps, too."""
    steps = list(_steps(lifetimes, device, None))
    return steps if steps and all(set(step.names) <= _SGD and step.names[-1] == "add_.List" for step in steps) else []


def _steps(lifetimes: Lifetimes, device: int, last: str | None) -> Iterator[ForeachStep]:
    """The `foreach` steps of the program: each ends with the operator `last`, or, if that is None, where the next one makes temporaries."""
    executions: list[int] = []
    results: list[tuple[Allocation, ...]] = []
    for position in lifetimes.optimizer_executions:
        if not lifetimes.operation_at(position).startswith(_FOREACH):
            continue
        made = _temporaries(lifetimes, position, device)
        if last is None and made and any(results):
            yield _step(lifetimes, executions, results)
            executions, results = [], []
        executions.append(position)
        results.append(made)
        if last is not None and _name(lifetimes, position) == last:
            yield _step(lifetimes, executions, results)
            executions, results = [], []
    if executions:
        yield _step(lifetimes, executions, results)


def _step(lifetimes: Lifetimes, executions: Sequence[int], results: Sequence[tuple[Allocation, ...]]) -> ForeachStep:
    return ForeachStep(tuple(executions), tuple(_name(lifetimes, position) for position in executions), tuple(results))


def _name(lifetimes: Lifetimes, position: int) -> str:
    return lifetimes.operation_at(position).removeprefix(_FOREACH)


def _temporaries(lifetimes: Lifetimes, position: int, device: int) -> tuple[Allocation, ...]:
    made = (each for each in lifetimes.results_of(position) if each.block.device == device)
    return tuple(each for each in made if each.block.category is Category.TEMPORARY and each.block.phase is Phase.OPTIMIZER)
