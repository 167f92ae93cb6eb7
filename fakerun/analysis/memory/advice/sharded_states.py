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
            removed = [each for rank, share in enumerate(shares) if rank != position for each in share]
            yield Sharded(reduction.group, reduction.group_size, position, _edit(lifetimes, device, removed))


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


def _edit(lifetimes: Lifetimes, device: int, removed: _States) -> ProgramEdit:
    """The program without these states, and without what `foreach` steps make for their parameters."""
    edit = ProgramEdit(lifetimes)
    for states in removed:
        for each in states:
            edit.remove(each)
    shapes = Counter(states[0].block.shape for states in removed)
    left: Counter[tuple[int, str, tuple[int, ...]]] = Counter()
    for step in adam_steps(lifetimes, device) or sgd_steps(lifetimes, device):
        for name, made in zip(step.names, step.results, strict=True):
            for each in made:
                key = lifetimes.step_of(each.allocated_at), name, each.block.shape
                left[key] += 1
                if left[key] <= shapes[each.block.shape]:
                    edit.remove(each)
    return edit
