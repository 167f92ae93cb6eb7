"""Where a module's forward is done with each block that it allocates, if nothing saves it for backward.

The program does not say which block an operation reads, only shapes and strides of its arguments; `_Reader` has the order in which blocks
are taken for them. What holds a block beyond its last use follows from Python: arguments of a call hold it to its end, and a name to the
end of the function. A block is taken for the argument of a call if a submodule reads it that did not make it, and to have a name if it is
read on another line of the function than it was made on. A name that is given something else earlier holds a block for less time than that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import Visit, end_of_operation, is_in
from fakerun.call_site import CallSite
from fakerun.records.device_program import Opcode

_ARGUMENT = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)\})?(?: x (\d+))?")


def last_uses(lifetimes: Lifetimes, visit: Visit, given: Allocation | None) -> dict[int, int]:
    """By number of the allocation, the position after its last use in the visit, to which a block was `given`."""
    reader = _Reader([] if given is None else [given])
    done: dict[int, int] = {}
    remaining = iter(visit.allocations)
    upcoming = next(remaining, None)
    for execution in lifetimes.executions_within(visit.start, end_of_operation(lifetimes, visit.last)):
        first = execution - len(lifetimes.results_of(execution))
        results: list[Allocation] = []
        while upcoming is not None and upcoming.allocated_at < execution:
            # What communication receives has no execution of its own.
            (results if upcoming.allocated_at >= first else reader.known).append(upcoming)
            upcoming = next(remaining, None)
        operation = lifetimes.program.operations[lifetimes.at(execution).operand]
        module = results[0].block.module if results else None
        read = reader.read(operation.arguments, execution, module)
        for used in read:
            if used is not given:
                done[used.number] = max(execution + 1, _end_of_hold(lifetimes, visit, used, results, len(read)))
        reader.known += results
    for each in visit.allocations:
        if each.number not in done:
            done[each.number] = _end_of_unread(lifetimes, visit, each)
    return done


@dataclass(frozen=True, slots=True)
class _Argument:
    """A tensor among the arguments of an operation: it spans `extent` elements of its storage."""

    dtype: str
    shape: tuple[int, ...]
    extent: int
    is_part: bool
    """Whether its storage has elements that it has not."""

    def may_be(self, allocation: Allocation) -> bool:
        """Whether it may be a view of the block."""
        dtype, elements = allocation.size
        return dtype == self.dtype and (elements >= self.extent if self.is_part else elements == self.extent)


class _Reader:
    """Which of the known blocks the arguments of an operation are."""

    def __init__(self, known: list[Allocation]) -> None:
        self.known = known
        self._given = list(known)
        self._read: set[int] = set()

    def read(self, arguments: str, execution: int, module: str | None) -> list[Allocation]:
        """The blocks that an operation in this module takes.

        Of several alike: one that nothing has read; one that the module made by itself; the one that was given; one of the same shape; the
        latest.
        """
        read: list[Allocation] = []
        for argument in _arguments(arguments):
            alike = [
                each
                for each in self.known
                if argument.may_be(each) and (argument.is_part or each not in read) and (each.freed_at is None or each.freed_at > execution)
            ]
            if alike:
                used = max(
                    alike,
                    key=lambda each: (
                        each.number not in self._read,
                        each.block.module == module,
                        each in self._given,
                        each.block.shape == argument.shape,
                        each.number,
                    ),
                )
                if used not in read:
                    read.append(used)
        self._read.update(each.number for each in read)
        return read


@lru_cache(maxsize=4096)
def _arguments(text: str) -> tuple[_Argument, ...]:
    """The tensors among the arguments, those of lists included."""
    found = []
    for dtype, sizes, strides, count in _ARGUMENT.findall(text):
        shape = _numbers(sizes)
        elements = extent = prod(shape)
        if strides and elements:
            extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, _numbers(strides), strict=True))
        found += [_Argument(dtype, shape, extent, extent > elements)] * (int(count) if count else 1)
    return tuple(found)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _end_of_hold(lifetimes: Lifetimes, visit: Visit, used: Allocation, results: Sequence[Allocation], read: int) -> int:
    """Where the call or function ends that holds a block which an operation with these results reads, one of `read`; 0 if none is known.

    What makes one block of another of its size is taken to give the name to the result.
    """
    if not results or (user := results[0].block.module) is None:
        return 0
    made, reads = used.block.call_site, results[0].block.call_site
    called = _outermost_without(user, used.block.module or "")
    is_renamed = read == 1 and results[0].size == used.size
    is_passed = called is not None and _function(made) != _function(reads)
    around = user if called is None else called.rpartition(".")[0]
    holder = called if made == reads or is_renamed or is_passed else around
    return 0 if holder is None else _end_of_module(lifetimes, visit, results[0], holder)


def _function(site: CallSite | None) -> tuple[str, str | None] | None:
    return None if site is None else (site.path, site.function)


def _end_of_unread(lifetimes: Lifetimes, visit: Visit, allocation: Allocation) -> int:
    """Where a block is freed that no operation seems to read: if it is the first result of its operation, views of parts of it may be."""
    if lifetimes.at(allocation.allocated_at - 1).opcode is Opcode.ALLOCATE:
        return end_of_operation(lifetimes, allocation.allocated_at)
    module = allocation.block.module or visit.module
    around = module if module == visit.module else module.rpartition(".")[0]
    return _end_of_module(lifetimes, visit, allocation, around)


def _end_of_module(lifetimes: Lifetimes, visit: Visit, start: Allocation, module: str) -> int:
    """Where the visit leaves a module in which it makes an allocation."""
    last = start
    for each in visit.allocations[start.number - visit.allocations[0].number :]:
        if not is_in(each.block.module, module):
            break
        last = each
    return end_of_operation(lifetimes, last.allocated_at)


def _outermost_without(user: str, maker: str) -> str | None:
    """The outermost module around `user`, or itself, that `maker` is neither nor is in."""
    parts = user.split(".")
    names = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next((name for name in names if maker != name and not maker.startswith(name + ".")), None)
