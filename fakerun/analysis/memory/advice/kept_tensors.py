"""Tensors that a name keeps alive into the next training step, where they are replaced by their like without having been read.

A tensor is taken for such if it is alive from one step into the next, a tensor of the same shape from the same line is made there before
it is freed, and no operation between takes a tensor of its dtype and number of elements: state that is carried from step to step is read
before it is replaced. Assumes that deleting the name at the end of the step frees it there, and that nothing but that name holds it.
"""

from collections import defaultdict
from collections.abc import Iterator

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.memory import Category, MemoryBlock

_MOST_LINES = 2
_LEAST_BYTES = 16 * 1024**2
"""Smaller ones are not worth a replay."""
_CATEGORIES = frozenset({Category.ACTIVATION, Category.TEMPORARY, Category.INPUT})


def deleted_at_end_of_step(lifetimes: Lifetimes, device: int) -> Iterator[tuple[MemoryBlock, ProgramEdit]]:
    """For the largest such tensors: what they are, and the program in which each of them is freed when its step ends."""
    alike: defaultdict[MemoryBlock, list[Allocation]] = defaultdict(list)
    for allocation in lifetimes.allocations:
        block = allocation.block
        if block.nbytes >= _LEAST_BYTES and block.category in _CATEGORIES and block.device == device:
            alike[block].append(allocation)
    kept = {block: found for block, each in alike.items() if (found := _kept(lifetimes, each))}
    for block in sorted(kept, key=lambda each: -each.nbytes)[:_MOST_LINES]:
        edit = ProgramEdit(lifetimes)
        for allocation in kept[block]:
            edit.free_at(allocation, lifetimes.program.step_ends[lifetimes.step_of(allocation.allocated_at)])
        yield block, edit


def _kept(lifetimes: Lifetimes, alike: list[Allocation]) -> list[Allocation]:
    """Those of equal blocks that live into the next step unread; `alike` are all of them, in order."""
    ends = lifetimes.program.step_ends
    found = []
    for each in alike:
        step = lifetimes.step_of(each.allocated_at)
        if each.freed_at is None or step >= len(ends) or lifetimes.step_of(each.freed_at) != step + 1:
            continue
        successor = next((other for other in alike if ends[step] <= other.allocated_at < each.freed_at), None)
        if successor is not None and not _is_read(lifetimes, each, ends[step], successor.allocated_at):
            found.append(each)
    return found


def _is_read(lifetimes: Lifetimes, allocation: Allocation, start: int, end: int) -> bool:
    """Whether an operation from `start` up to `end` may read it."""
    return any(allocation.size in lifetimes.argument_sizes(position) for position in lifetimes.executions_within(start, end))
