"""Activation checkpointing: what a module saves for backward is freed in forward, and computed once more right before its backward.

Assumes `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)` around each call of the module, inside of FSDP's unit if that is the
same module. The module's input stays (the checkpoint holds it), and so do its last result, which the next module takes, and weights that
autocast casts, which its cache holds to the end of forward. Where forward frees what it no longer saves is in `last_uses`. Recomputation
makes the same requests in the same order, when the module's backward first reads what it saved, and stops, as torch does, after the last
block that backward needs; random states take no device memory.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.memory.advice.last_uses import last_uses
from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import Visit, computing_allocations, end_of_operation, patterns_of, visits_of
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.collective import Phase
from fakerun.records.device_program import Opcode
from fakerun.records.memory import Category

_ADDITION_OF_BROADCAST = "aten.sum.dim_IntList"
_MOST_PATTERNS = 3
_LEAST_SHARE = 0.25
"""Of the most that a pattern saves at the peak: what saves less is not worth a replay."""


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """One call of a module: `saved` by it in forward, all computed again at the position `recomputed_at`; `last` is its result."""

    visit: Visit
    saved: tuple[Allocation, ...]
    recomputed_at: int
    backward: Visit
    last: Allocation


@dataclass(frozen=True, slots=True)
class _Casts:
    """Parameters that autocast casts: the numbers of the allocations that hold the casts, and where they are freed, ascending."""

    numbers: frozenset[int]
    ends: tuple[int, ...]

    def freed_after(self, lifetimes: Lifetimes, position: int) -> int | None:
        """Where autocast's cache is emptied after a position in forward: None if no backward follows.

        It is seen where casts that nothing saves are freed, as those of biases; without any it is taken to be where backward begins.
        """
        backward = lifetimes.next_phase(position, Phase.BACKWARD)
        if backward is None:
            return None
        last = bisect_left(self.ends, backward) - 1
        return self.ends[last] if last >= 0 and self.ends[last] >= position else backward


def checkpointed(lifetimes: Lifetimes, device: int) -> Iterator[tuple[str, ProgramEdit]]:
    """For the patterns of modules that save most at the peak: the pattern, and the edit that checkpoints each of its modules."""
    allocations = computing_allocations(lifetimes, device)
    patterns = {pattern: _checkpoints(lifetimes, visits_of(pattern, allocations)) for pattern in patterns_of(allocations)}
    scores = {pattern: _bytes_saved_at_peak(lifetimes, each) for pattern, each in patterns.items()}
    most = max(scores.values(), default=0)
    for pattern in sorted(scores, key=lambda each: (-scores[each], each))[:_MOST_PATTERNS]:
        if scores[pattern] > 0 and scores[pattern] >= _LEAST_SHARE * most:
            yield pattern, _edit(lifetimes, patterns[pattern], allocations)


def _checkpoints(lifetimes: Lifetimes, visits: Sequence[Visit]) -> list[_Checkpoint]:
    """The calls of the modules; none if one of them is computed again already, or is not followed by its backward."""
    backward: dict[str, list[Visit]] = {}
    for visit in visits:
        if visit.phase is Phase.BACKWARD:
            backward.setdefault(visit.module, []).append(visit)
            if any(each.block.category is Category.ACTIVATION for each in visit.allocations):
                return []
    calls = (_checkpoint(lifetimes, visit, backward.get(visit.module, [])) for visit in visits if visit.phase is Phase.FORWARD)
    return [call for call in calls if call is not None]


def _checkpoint(lifetimes: Lifetimes, visit: Visit, backward: Sequence[Visit]) -> _Checkpoint | None:
    """The call, with the first backward of the module after it that frees what it saved."""
    end = end_of_operation(lifetimes, visit.last)
    kept = [each for each in visit.allocations if each.freed_at is not None and each.freed_at >= end]
    for candidate in backward:
        if candidate.start < visit.start:
            continue
        saved = [each for each in kept if each.freed_at is not None and each.freed_at > candidate.start]
        if not saved:
            return None
        first_freed = min(each.freed_at for each in saved if each.freed_at is not None)
        if first_freed <= _end(lifetimes, candidate):
            last = max(kept, key=lambda each: each.number)
            first_read = _first_read(lifetimes, candidate)
            return _Checkpoint(visit, tuple(saved), first_read if first_read < first_freed else candidate.start, candidate, last)
    return None


def _first_read(lifetimes: Lifetimes, backward: Visit) -> int:
    """Where a module's backward begins to read what was saved: before its first operation that takes more than a gradient."""
    executions = lifetimes.executions_within(backward.start, end_of_operation(lifetimes, backward.last))
    first = next((each for each in executions if lifetimes.argument_count(each) > 1), None)
    return backward.start if first is None else first - len(lifetimes.results_of(first))


def _end(lifetimes: Lifetimes, visit: Visit) -> int:
    """Where what the visit's last operation has done with is free: before the next allocation."""
    return lifetimes.next_allocation(end_of_operation(lifetimes, visit.last))


def _bytes_saved_at_peak(lifetimes: Lifetimes, checkpoints: Sequence[_Checkpoint]) -> int:
    """What is alive at the peak and would not be, less what the largest module computes again."""
    peak = lifetimes.peak_position
    alive = [sum(each.block.nbytes for each in checkpoint.saved if each.is_alive_at(peak)) for checkpoint in checkpoints]
    return sum(alive) - max(alive, default=0)


def _edit(lifetimes: Lifetimes, checkpoints: Sequence[_Checkpoint], allocations: Sequence[Allocation]) -> ProgramEdit:
    edit = ProgramEdit(lifetimes)
    casts = _casts(lifetimes)
    for checkpoint in checkpoints:
        given = _input(lifetimes, checkpoint, allocations)
        if given is not None and given.freed_at is not None and given.freed_at < checkpoint.recomputed_at:
            edit.free_at(given, _end(lifetimes, checkpoint.backward))
        _free_in_forward(lifetimes, edit, checkpoint, casts, given)
        _compute_again(lifetimes, edit, checkpoint)
    return edit


def _input(lifetimes: Lifetimes, checkpoint: _Checkpoint, allocations: Sequence[Allocation]) -> Allocation | None:
    """What the module is given: the latest block that looks like an argument of its first operation."""
    start = checkpoint.visit.start
    first = lifetimes.next_execution(start)
    sizes = frozenset() if first is None else lifetimes.argument_sizes(first)
    return next((each for each in _before(allocations, start) if each.is_alive_at(start) and each.size in sizes), None)


def _before(allocations: Sequence[Allocation], position: int) -> Iterator[Allocation]:
    """The allocations before a position, the latest first."""
    return reversed(allocations[: bisect_left(allocations, position, key=lambda each: each.allocated_at)])


def _casts(lifetimes: Lifetimes) -> _Casts:
    parameters = {each.block.shape for each in lifetimes.allocations if each.block.category is Category.PARAMETER}
    casts = [each for each in lifetimes.allocations if each.block.shape in parameters and _is_cast(lifetimes, each)]
    ends = sorted(each.freed_at for each in casts if each.freed_at is not None)
    return _Casts(frozenset(each.number for each in casts), tuple(ends))


def _is_cast(lifetimes: Lifetimes, allocation: Allocation) -> bool:
    execution = lifetimes.next_execution(allocation.allocated_at)
    return (
        execution is not None
        and lifetimes.operation_at(execution) == "aten._to_copy.default"
        and ("float32", allocation.size[1]) in lifetimes.argument_sizes(execution)
    )


def _free_in_forward(lifetimes: Lifetimes, edit: ProgramEdit, checkpoint: _Checkpoint, casts: _Casts, given: Allocation | None) -> None:
    visit = checkpoint.visit
    end = end_of_operation(lifetimes, visit.last)
    done = last_uses(lifetimes, visit, given)
    cache_ends = casts.freed_after(lifetimes, end)
    for allocation in checkpoint.saved:
        if allocation is checkpoint.last:
            edit.free_at(allocation, checkpoint.recomputed_at)
        elif cache_ends is not None and allocation.number in casts.numbers:
            edit.free_at(allocation, cache_ends)
        else:
            edit.free_at(allocation, done[allocation.number])


def _end_of_formula(lifetimes: Lifetimes, freed_at: int) -> int:
    """Where what backward computed again is freed: when the formula that reads it ends.

    What forward saved is held a little longer (`evaluate_function` of torch/csrc/autograd/engine.cpp, 2.13): gradients of what was
    broadcast, as a bias, are added up before.
    """
    position = freed_at
    while lifetimes.at(position - 1).opcode is Opcode.FREE:
        position -= 1
    if lifetimes.at(position - 1).opcode is not Opcode.EXECUTE or lifetimes.operation_at(position - 1) != _ADDITION_OF_BROADCAST:
        return freed_at
    return position - 1 - len(lifetimes.results_of(position - 1))


def _compute_again(lifetimes: Lifetimes, edit: ProgramEdit, checkpoint: _Checkpoint) -> None:
    """Repeat what forward did up to the last block that was saved; what is saved lives on to where it was freed."""
    visit, at = checkpoint.visit, checkpoint.recomputed_at
    end = end_of_operation(lifetimes, checkpoint.saved[-1].allocated_at)
    numbers = {each.allocated_at: each for each in visit.allocations}
    freed = {each.freed_at: each for each in visit.allocations if each.freed_at is not None}
    stream = visit.allocations[0].block.stream
    again: dict[int, int] = {}
    for position in range(visit.start, end):
        if position in numbers:
            again[numbers[position].number] = edit.allocate(at, numbers[position].block)
        elif position in freed:
            if freed[position].number in again:
                edit.free(at, again.pop(freed[position].number))
        elif (instruction := lifetimes.at(position)).opcode is Opcode.EXECUTE and instruction.stream == stream:
            edit.execute(at, instruction)
    for allocation in checkpoint.saved:
        number = again.pop(allocation.number)
        assert allocation.freed_at is not None
        edit.free(max(at, _end_of_formula(lifetimes, allocation.freed_at)), number)
    for number in again.values():
        edit.free(at, number)
