"""ZeRO-1: of parameters that a group of ranks holds alike, each rank keeps the states of its share only, and broadcasts what it updated.

Assumes `torch.distributed.optim.ZeroRedundancyOptimizer` (torch/distributed/optim/zero_redundancy_optimizer.py, 2.11 to 2.14) with one
group of parameters: it assigns whole parameters, the largest first, each to the rank that has least, whose optimizer has them in that
order, and broadcasts them where they are. Parameters that the group does not hold alike get an optimizer of their own, which steps after
it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf, prod

from fakerun.analysis.memory.advice.foreach_steps import ForeachStep, adam_steps, sgd_steps
from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import parameters_of_fsdp
from fakerun.analysis.memory.advice.parameter_states import states_by_parameter
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.records.memory import Category

_States = Sequence[tuple[Allocation, ...]]


@dataclass(frozen=True, slots=True)
class Sharded:
    """The edit to the program of the rank that keeps most: the one at this position of a group of `group_size`, which is named `group`.

    `others` is the pattern of the modules whose parameters the group does not hold alike, None if it holds all.
    """

    group: str
    group_size: int
    position: int
    others: str | None
    edit: ProgramEdit


def sharded(lifetimes: Lifetimes, device: int, reductions: Sequence[GradientReduction]) -> Iterator[Sharded]:
    """For each group that reduces the gradients of parameters whose states are whole: the program in which these are sharded over it.

    Nothing where FSDP2 shards the parameters: their states are sharded with them.
    """
    states = states_by_parameter(lifetimes, device)
    if not states or parameters_of_fsdp(lifetimes):
        return
    for reduction in reductions:
        others, replicated = _replicated(states, reduction)
        if replicated:
            shares = _shares(replicated, reduction.group_size)
            position = max(range(len(shares)), key=lambda rank: sum(map(_elements, shares[rank])))
            edit = _edit(lifetimes, device, states, replicated, shares[position])
            yield Sharded(reduction.group, reduction.group_size, position, others, edit)


def _replicated(states: _States, reduction: GradientReduction) -> tuple[str | None, _States]:
    """The states of the parameters whose gradients the group reduces: of all, or of all but the modules of one pattern (experts)."""
    if reduction.is_of(sum(map(_elements, states))):
        return None, states
    patterns = {_pattern(each, depth) for each in states for depth in range(1, 8)}
    for pattern in sorted(pattern for pattern in patterns if pattern is not None):
        others = [each for each in states if not any(_pattern(each, depth) == pattern for depth in range(1, 8))]
        if others and reduction.is_of(sum(map(_elements, others))):
            return pattern, others
    return None, []


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
    place = {each[0].number: index for index, each in enumerate(states)}
    mine = [place[each[0].number] for each in kept]
    shared = {place[each[0].number] for each in replicated}
    for index in shared.difference(mine):
        for state in states[index]:
            edit.remove(state)
    parameters = [mine, [index for index in place.values() if index not in shared]]
    steps = adam_steps(lifetimes, device) or sgd_steps(lifetimes, device)
    of_all = [step for step in steps if all(len(made) == len(states) for made in step.results if made)]
    for lists in _lists(lifetimes, states, of_all):
        _divide(edit, lists, parameters)
    left_out = Counter(states[index][0].block.shape for index in shared.difference(mine))
    for step in steps:
        if step not in of_all:
            _leave_out(edit, [made for made in step.results if made], left_out)
    return edit


def _lists(lifetimes: Lifetimes, states: _States, steps: Sequence[ForeachStep]) -> Iterator[Sequence[_States]]:
    """What each step of all parameters makes, in order: lists with an entry for each parameter, the first time the states, too."""
    of_steps: list[list[_States]] = [[[(each,) for each in made] for made in step.results if made] for step in steps] or [[]]
    if not steps or lifetimes.step_of(steps[0].executions[0]) == lifetimes.step_of(states[0][0].allocated_at):
        of_steps[0] = sorted([states, *of_steps[0]], key=_start)
    yield from filter(None, of_steps)


def _start(made: _States) -> int:
    return made[0][0].allocated_at


def _divide(edit: ProgramEdit, lists: Sequence[_States], parameters: Sequence[Sequence[int]]) -> None:
    """Make the lists of one step, which have an entry for each parameter, for these parameters only: one optimizer after the other."""
    position = _start(lists[0])
    for made in lists:
        for each in chain.from_iterable(made):
            edit.remove(each)
    for chosen in parameters:
        held: list[tuple[int, int]] = []
        for made in lists:
            _free_before(edit, position, held, _start(made))
            for each in chain.from_iterable(made[index] for index in chosen):
                number = edit.allocate(position, each.block)
                if each.block.category is Category.TEMPORARY and each.freed_at is not None:
                    held.append((each.freed_at, number))
                elif each.freed_at is not None:
                    edit.free(each.freed_at, number)
        _free_before(edit, position, held, inf)


def _free_before(edit: ProgramEdit, position: int, held: list[tuple[int, int]], end: float) -> None:
    """Free here those of the blocks, with where they were freed, that were freed before `end`."""
    for freed_at, number in [each for each in held if each[0] < end]:
        edit.free(position, number)
        held.remove((freed_at, number))


def _leave_out(edit: ProgramEdit, lists: Sequence[Sequence[Allocation]], shapes: Counter[tuple[int, ...]]) -> None:
    """Leave out as many of each shape as others keep states for, where a list is not of all parameters."""
    for made in lists:
        left = shapes.copy()
        for each in made:
            if left[each.block.shape]:
                left[each.block.shape] -= 1
                edit.remove(each)
