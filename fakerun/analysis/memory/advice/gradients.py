"""Gradients that are kept from one training step into the next, although `zero_grad` discards what they hold."""

from collections import Counter
from collections.abc import Iterator

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.collective import Phase
from fakerun.records.memory import Category

_ADDITION = "aten.add_.Tensor"
_ZEROING = frozenset({"aten.zero_.default", "aten._foreach_zero_.default"})


def freed_after_step(lifetimes: Lifetimes, device: int) -> Iterator[ProgramEdit]:
    """The edit to the program with `zero_grad()` called when a step ends, where it is called after the next forward has begun.

    Assumes that nothing reads a gradient between the end of its step and where it is freed: outside of backward, before the next.
    """
    edit = ProgramEdit(lifetimes)
    ends = lifetimes.program.step_ends
    for gradient in _gradients(lifetimes, device):
        step = lifetimes.step_of(gradient.allocated_at)
        freed = gradient.freed_at
        if freed is None or step >= len(ends) or freed <= ends[step] or gradient.block.phase is not Phase.BACKWARD:
            continue
        forward, backward = (lifetimes.next_phase(ends[step], phase) for phase in (Phase.FORWARD, Phase.BACKWARD))
        if forward is not None and forward < freed and (backward is None or freed < backward):
            edit.free_at(gradient, ends[step])
    if not edit.is_empty:
        yield edit


def set_to_none(lifetimes: Lifetimes, device: int) -> Iterator[ProgramEdit]:
    """The edit to the program with `zero_grad(set_to_none=True)`, where gradients are set to zero.

    Assumes that backward then keeps as gradients what it now adds to them first after each `zero_grad`: a block that is freed right after
    the addition. Gradients of which that cannot be seen stay as they are.
    """
    gradients = [each for each in _gradients(lifetimes, device) if each.freed_at is None and each.block.phase is Phase.BACKWARD]
    rounds = _zeroings(lifetimes)
    if not gradients or not rounds:
        return
    edit = ProgramEdit(lifetimes)
    kept = Counter(each.size for each in gradients)
    ends = [*rounds[1:], len(lifetimes.program.order)]
    added = [_additions(lifetimes, start, end, kept) for start, end in zip(rounds, ends, strict=True)]
    if Counter(each.size for each, _ in added[0]) != kept:
        return
    for gradient in gradients:
        if gradient.allocated_at < rounds[0]:
            edit.free_at(gradient, rounds[0])
    for additions, end in zip(added, ends, strict=True):
        for addend, position in additions:
            edit.drop(position)
            edit.free_at(addend, end)
    yield edit


def _gradients(lifetimes: Lifetimes, device: int) -> list[Allocation]:
    return [each for each in lifetimes.allocations if each.block.category is Category.GRADIENT and each.block.device == device]


def _zeroings(lifetimes: Lifetimes) -> list[int]:
    """Where gradients are set to zero: outside of backward, once between two of them."""
    found: list[int] = []
    for position in lifetimes.executions:
        if lifetimes.operation_at(position) in _ZEROING and lifetimes.phase_at(position) is not Phase.BACKWARD:
            backward = lifetimes.next_phase(found[-1], Phase.BACKWARD) if found else -1
            if backward is not None and backward < position:
                found.append(position)
    return found


def _additions(lifetimes: Lifetimes, start: int, end: int, kept: Counter[tuple[str, int]]) -> list[tuple[Allocation, int]]:
    """The first addition to each gradient between two positions: what is added, and where."""
    freed = {each.freed_at: each for each in lifetimes.allocations if each.freed_at is not None}
    left = kept.copy()
    found = []
    for position in lifetimes.executions_within(start, end):
        if lifetimes.operation_at(position) != _ADDITION or lifetimes.phase_at(position) is not Phase.BACKWARD:
            continue
        addend = freed.get(position + 1)
        if addend is not None and left[addend.size] and addend.size in lifetimes.argument_sizes(position):
            left[addend.size] -= 1
            found.append((addend, position))
    return found
