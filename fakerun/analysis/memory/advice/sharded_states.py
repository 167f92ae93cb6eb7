"""ZeRO-1: of parameters that a group of ranks holds alike, each rank keeps the states of its share only, and broadcasts what it updated.

Assumes `torch.distributed.optim.ZeroRedundancyOptimizer` (torch/distributed/optim/zero_redundancy_optimizer.py, 2.11 to 2.14) with one
group of parameters: it assigns whole parameters, the largest first, each to the rank that has least, and broadcasts them where they are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from fakerun.analysis.memory.advice.foreach_steps import adam_steps, sgd_steps
from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import parameters_of_fsdp
from fakerun.analysis.memory.advice.parameter_states import states_by_parameter
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.analysis.memory.breakdown import module_pattern

_States = Sequence[tuple[Allocation, ...]]


@dataclass(frozen=True, slots=True)
class Sharded:
    """The edit to the program of the rank that keeps most: the one at this position of a group of `group_size`, which is named `group`."""

    group: str
    group_size: int
    position: int
    edit: ProgramEdit


def sharded(lifetimes: Lifetimes, device: int, reductions: Sequence[GradientReduction]) -> Iterator[Sharded]:
    """For each group that reduces the gradients of parameters whose states are whole: the program in which these are sharded over it.

    Nothing where FSDP2 shards the parameters: their states are sharded with them.
    """
    states = states_by_parameter(lifetimes, device)
    if not states or parameters_of_fsdp(lifetimes):
        return
    for reduction in reductions:
        replicated = _replicated(states, reduction)
        if replicated:
            shares = _shares(replicated, reduction.group_size)
            position = max(range(len(shares)), key=lambda rank: sum(map(_elements, shares[rank])))
            edit = _edit(lifetimes, device, states, replicated, shares[position])
            yield Sharded(reduction.group, reduction.group_size, position, edit)


def _replicated(states: _States, reduction: GradientReduction) -> _States:
    """The states of the parameters whose gradients the group reduces: of all, or of all but the modules of one pattern (experts)."""
    if reduction.is_of(sum(map(_elements, states))):
        return states
    patterns = {_pattern(each, depth) for each in states for depth in range(1, 8)}
    for pattern in sorted(pattern for pattern in patterns if pattern is not None):
        others = [each for each in states if not any(_pattern(each, depth) == pattern for depth in range(1, 8))]
        if others and reduction.is_of(sum(map(_elements, others))):
            return others
    return []


def _pattern(states: tuple[Allocation, ...], depth: int) -> str | None:
    """The pattern of the ancestor of the parameter's module at this depth; None if there is none."""
    parts = (states[0].block.module or "").split(".")
    return str(module_pattern(".".join(parts[:depth]))) if depth <= len(parts) and parts[0] else None


def _shares(states: _States, ranks: int) -> list[list[tuple[Allocation, ...]]]:
    """By rank of the group, the states that it keeps (`_partition_parameters`)."""
    shares: list[list[tuple[Allocation, ...]]] = [[] for _ in range(ranks)]
    sizes = [0] * ranks
    for each in sorted(states, key=_elements, reverse=True):
        rank = sizes.index(min(sizes))
        shares[rank].append(each)
        sizes[rank] += _elements(each)
    return shares


def _elements(states: tuple[Allocation, ...]) -> int:
    """How many elements the parameter has."""
    return prod(states[0].block.shape)


def _edit(lifetimes: Lifetimes, device: int, states: _States, replicated: _States, kept: _States) -> ProgramEdit:
    """The program without the states that others keep, and without what `foreach` steps make for their parameters."""
    edit = ProgramEdit(lifetimes)
    mine = {each[0].number for each in kept}
    shared = {each[0].number for each in replicated}
    for each in replicated:
        if each[0].number not in mine:
            for state in each:
                edit.remove(state)
    for step in adam_steps(lifetimes, device) or sgd_steps(lifetimes, device):
        lists = [made for made in step.results if made]
        if all(len(made) == len(states) for made in lists):
            _divide(edit, lists, [each[0].number in shared for each in states], [each[0].number in mine for each in states])
        else:
            _leave_out(edit, lists, Counter(each[0].block.shape for each in replicated if each[0].number not in mine))
    return edit


def _divide(edit: ProgramEdit, lists: Sequence[Sequence[Allocation]], shared: Sequence[bool], mine: Sequence[bool]) -> None:
    """Leave out what is made for others' parameters; if some are not shared, these have a step of their own, after that of the shared."""
    numbers = []
    start = lists[0][0].allocated_at if lists else 0
    for made in lists:
        for each, is_shared, is_mine in zip(made, shared, mine, strict=True):
            if is_shared and not (is_mine and all(shared)):
                edit.remove(each)
            if is_mine and not all(shared):
                numbers.append(edit.allocate(start, each.block))
    for number in numbers:
        edit.free(start, number)


def _leave_out(edit: ProgramEdit, lists: Sequence[Sequence[Allocation]], shapes: Counter[tuple[int, ...]]) -> None:
    """Leave out as many of each shape as others keep states for, where a list is not of all parameters."""
    for made in lists:
        left = shapes.copy()
        for each in made:
            if left[each.block.shape]:
                left[each.block.shape] -= 1
                edit.remove(each)
