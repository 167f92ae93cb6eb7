"""`foreach=False`: Adam, AdamW and SGD go over the parameters one by one, with temporaries of one parameter in place of lists of all.

Assumes the loops of torch/optim/adam.py (`_single_tensor_adam`) and torch/optim/sgd.py (`_single_tensor_sgd`), 2.11 to 2.14. A temporary
that has a name in them lives until the next parameter's has been computed and takes the name.
"""

from collections.abc import Iterator, Sequence

from fakerun.analysis.memory.advice.foreach_steps import ForeachStep, adam_steps, sgd_steps
from fakerun.analysis.memory.advice.fused_optimizer import fuse
from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.call_site import CallSite
from fakerun.records.memory import Category, MemoryBlock


def with_for_loop(lifetimes: Lifetimes, device: int) -> Iterator[tuple[CallSite | None, ProgramEdit]]:
    """The edit to the program with every `foreach` step of Adam, AdamW or SGD in a loop, and its line; nothing if it has none."""
    steps = [each for each in adam_steps(lifetimes, device) or sgd_steps(lifetimes, device) if any(each.results)]
    if steps:
        edit = ProgramEdit(lifetimes)
        fuse(edit, steps)
        for step in steps:
            _loop(edit, step, _buffers(lifetimes, step, device))
        yield steps[-1].call_site, edit


def _buffers(lifetimes: Lifetimes, step: ForeachStep, device: int) -> list[Allocation]:
    """The momentum buffers that the first step of SGD makes: copies of what the gradients are by then, one for each parameter."""
    within = lifetimes.allocations_within(step.executions[0], step.executions[-1])
    made = [each for each in within if each.block.category is Category.OPTIMIZER_STATE and each.block.device == device]
    return made if len(made) == max(map(len, step.results)) else []


def _loop(edit: ProgramEdit, step: ForeachStep, buffers: Sequence[Allocation]) -> None:
    """Make what the step makes, parameter by parameter."""
    negated = step.results_of("neg.default")
    gradients = negated or step.results_of("add.List")
    roots = step.results_of("sqrt.default")
    names = _Names(edit, (roots or gradients)[0].allocated_at)
    for index in range(max(len(gradients), len(roots))):
        if gradients and gradients is not negated:
            names.delete("grad")
        if gradients:
            names.assign("grad", gradients[index].block)
        if buffers:
            _make_here(edit, names.position, buffers[index])
        if _assigns_gradient_again(step):
            names.assign("grad", gradients[index].block)
        if roots:
            names.assign("denom", roots[index].block, of=roots[index].block)
    names.delete("grad")
    names.delete("denom")


def _make_here(edit: ProgramEdit, position: int, allocation: Allocation) -> None:
    edit.remove(allocation)
    number = edit.allocate(position, allocation.block)
    if allocation.freed_at is not None:
        edit.free(allocation.freed_at, number)


def _assigns_gradient_again(step: ForeachStep) -> bool:
    """Whether the loop adds weight decay to the negated gradient, or Nesterov's momentum to the decayed one: to another tensor."""
    additions = step.names.count("add_.List")
    if "sqrt.default" in step.names:
        return "neg.default" in step.names and additions > 0
    return additions > (2 if "mul_.Scalar" in step.names else 1)


class _Names:
    """The local names of the loop, all assigned at one position of the program."""

    def __init__(self, edit: ProgramEdit, position: int) -> None:
        self._edit = edit
        self.position = position
        self._numbers: dict[str, int] = {}

    def assign(self, name: str, block: MemoryBlock, of: MemoryBlock | None = None) -> None:
        """Compute a block, from a temporary `of` if given, and have the name hold it in place of what it holds."""
        temporary = None if of is None else self._edit.allocate(self.position, of)
        number = self._edit.allocate(self.position, block)
        if temporary is not None:
            self._edit.free(self.position, temporary)
        self.delete(name)
        self._numbers[name] = number

    def delete(self, name: str) -> None:
        """The name holds something else, or the function ends."""
        if name in self._numbers:
            self._edit.free(self.position, self._numbers.pop(name))
