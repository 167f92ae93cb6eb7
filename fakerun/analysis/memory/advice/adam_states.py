"""The states of Adam and AdamW of torch.optim in a program: the averages of each parameter.

Assumes that a parameter's averages are made one after the other (`_init_group` of torch/optim/adam.py, 2.11 to 2.14), all of the
parameter's shape, and the parameters' in the order in which the steps take them.
"""

from itertools import groupby

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.records.collective import Phase
from fakerun.records.memory import Category

_MAXIMA = frozenset({"aten._foreach_maximum_.List", "aten.maximum.out"})
"""What only `amsgrad=True` executes, which keeps a third average. The fused kernel does not show it."""
_FUSED = frozenset({"aten._fused_adam_.default", "aten._fused_adamw_.default"})
_FOR_LOOP = frozenset({"aten.lerp_.Scalar", "aten.addcmul_.default", "aten.addcdiv_.default"})


def adam_states(lifetimes: Lifetimes, device: int) -> list[tuple[Allocation, ...]]:
    """The averages of each parameter, by parameter in the order in which they were made.

    Assumes that the optimizer is Adam. A module's parameters of one shape are left out if they do not have two averages each, or three
    with `amsgrad`: of another optimizer's, or if there are more states than averages.
    """
    count = 3 if not _MAXIMA.isdisjoint(_optimizer_operations(lifetimes)) else 2
    states = [
        each
        for each in lifetimes.allocations
        if each.block.category is Category.OPTIMIZER_STATE and each.block.device == device and each.block.shape
    ]
    found = []
    for _, alike in groupby(states, key=_kind):
        averages = list(alike)
        if len(averages) % count == 0:
            found += [tuple(averages[first : first + count]) for first in range(0, len(averages), count)]
    return found


def is_fused_or_in_loop(lifetimes: Lifetimes) -> bool:
    """Whether the program has steps of Adam or AdamW that are fused, or go over the parameters one by one."""
    operations = _optimizer_operations(lifetimes)
    return not operations.isdisjoint(_FUSED) or operations >= _FOR_LOOP


def _optimizer_operations(lifetimes: Lifetimes) -> set[str]:
    return {lifetimes.operation_at(position) for position in lifetimes.executions if lifetimes.phase_at(position) is Phase.OPTIMIZER}


def _kind(allocation: Allocation) -> tuple[tuple[int, ...], str, str | None]:
    return allocation.block.shape, allocation.block.dtype, allocation.block.module
