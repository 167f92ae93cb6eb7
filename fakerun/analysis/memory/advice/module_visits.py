"""Visits: when a program is in the modules of a pattern (`layers.*`), in forward and in backward, as far as their allocations tell."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.records.collective import Phase
from fakerun.records.device_program import Opcode
from fakerun.records.memory import Category


@dataclass(slots=True)
class Visit:
    """The program is in a module: it makes these allocations, one after the other, and none for another module between them."""

    module: str
    phase: Phase
    allocations: list[Allocation]

    @property
    def start(self) -> int:
        """The position of the first allocation."""
        return self.allocations[0].allocated_at

    @property
    def last(self) -> int:
        """The position of the last allocation."""
        return self.allocations[-1].allocated_at


def computing_stream(lifetimes: Lifetimes, device: int) -> int | None:
    """The stream of a device on which forward makes most of its activations; None if it makes none."""
    totals: defaultdict[int, int] = defaultdict(int)
    for allocation in lifetimes.allocations:
        block = allocation.block
        if block.device == device and block.category is Category.ACTIVATION and block.phase is Phase.FORWARD:
            totals[block.stream] += block.nbytes
    return max(totals, key=lambda stream: totals[stream], default=None)


def parameters_of_fsdp(lifetimes: Lifetimes) -> frozenset[int]:
    """The numbers of the allocations that hold parameters that FSDP2 gathered: what its operators fill."""
    return frozenset(
        allocation.number
        for position in lifetimes.executions
        if lifetimes.operation_at(position).startswith("fsdp.")
        for allocation in lifetimes.results_of(position)
    )


def computing_allocations(lifetimes: Lifetimes, device: int) -> list[Allocation]:
    """Those that forward and backward make on the stream of a device that computes, but for what FSDP2 communicates."""
    stream, gathered = computing_stream(lifetimes, device), parameters_of_fsdp(lifetimes)
    return [
        each
        for each in lifetimes.allocations
        if each.block.stream == stream
        and each.block.device == device
        and each.block.phase in (Phase.FORWARD, Phase.BACKWARD)
        and each.number not in gathered
    ]


def visits_of(pattern: str, allocations: Iterable[Allocation]) -> list[Visit]:
    """The visits to the modules of a pattern, and to those inside them, in order."""
    visits: list[Visit] = []
    depth = pattern.count(".") + 1
    instances: dict[str | None, str | None] = {}
    latest: tuple[str | None, Phase] | None = None
    for allocation in allocations:
        name = allocation.block.module
        if name not in instances:
            instances[name] = _instance(name, pattern, depth)
        here = instances[name], allocation.block.phase
        if here[0] is not None:
            if here != latest:
                visits.append(Visit(here[0], here[1], []))
            visits[-1].allocations.append(allocation)
        latest = here
    return visits


def _instance(name: str | None, pattern: str, depth: int) -> str | None:
    if name is None:
        return None
    ancestor = ".".join(name.split(".")[:depth])
    return ancestor if module_pattern(ancestor) == pattern else None


def patterns_of(allocations: Sequence[Allocation]) -> list[str]:
    """The patterns of all modules that allocate, and of those around them: `layers.*`, `layers.*.attention`; a list itself is none."""
    names = {each.block.module for each in allocations if each.block.module is not None}
    parts = (name.split(".")[: end + 1] for name in names for end in range(name.count(".") + 1))
    return sorted({str(module_pattern(".".join(each))) for each in parts})


def end_of_operation(lifetimes: Lifetimes, position: int) -> int:
    """The position after the execution for which something is allocated at this position."""
    execution = lifetimes.next_execution(position)
    if execution is None or any(lifetimes.at(each).opcode is not Opcode.ALLOCATE for each in range(position, execution)):
        return position + 1
    return execution + 1


def is_in(name: str | None, module: str) -> bool:
    """Whether a module is another one, or inside it."""
    return name is not None and (name == module or name.startswith(module + "."))
