"""The states that optimizers of torch.optim keep for each parameter, as far as a program tells them apart.

Assumes that a parameter's states are made one after the other, all of the parameter's shape: the averages of Adam and AdamW
(`_init_group` of torch/optim/adam.py, 2.11 to 2.14), and the momentum of SGD.
"""

from itertools import groupby

from fakerun.analysis.memory.advice.foreach_steps import adam_steps, sgd_steps
from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.records.memory import Category

_MAXIMA = frozenset({"aten._foreach_maximum_.List", "aten.maximum.out"})
"""What only `amsgrad=True` executes, which keeps a third average. The fused kernel does not show it."""
_FUSED = frozenset({"aten._fused_adam_.default", "aten._fused_adamw_.default"})
_FOR_LOOP = frozenset({"aten.lerp_.Scalar", "aten.addcmul_.default", "aten.addcdiv_.default"})


def adam_states(lifetimes: Lifetimes, device: int) -> list[tuple[Allocation, ...]]:
    """The averages of each parameter, in the order in which they were made; empty if the optimizer is not Adam or AdamW.

    A module's parameters of one shape are left out if they do not have two averages each, or three with `amsgrad`: those of another
    optimizer, or with more states than averages.
    """
    operations = _optimizer_operations(lifetimes)
    if operations.isdisjoint(_FUSED) and not operations >= _FOR_LOOP and not adam_steps(lifetimes, device):
        return []
    return _by_parameter(lifetimes, device, 2 if operations.isdisjoint(_MAXIMA) else 3)


def states_by_parameter(lifetimes: Lifetimes, device: int) -> list[tuple[Allocation, ...]]:
    """What is kept for each parameter, in the order in which it was made; empty if the optimizer is not known."""
    if sgd_steps(lifetimes, device):
        return _by_parameter(lifetimes, device, 1)
    return adam_states(lifetimes, device)


def _by_parameter(lifetimes: Lifetimes, device: int, count: int) -> list[tuple[Allocation, ...]]:
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


def _optimizer_operations(lifetimes: Lifetimes) -> set[str]:
    return {lifetimes.operation_at(position) for position in lifetimes.optimizer_executions}


def _kind(allocation: Allocation) -> tuple[tuple[int, ...], str, str | None]:
    return allocation.block.shape, allocation.block.dtype, allocation.block.module
