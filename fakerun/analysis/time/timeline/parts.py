"""What each class of ranks plays: its program with the costs of its operations, its calls in blocks with theirs."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from fakerun.analysis.dependency import IssuedCall
from fakerun.analysis.time.costs import CallCost, OperationCost
from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.timeline.instructions import Action, PlayedProgram, played_program
from fakerun.analysis.time.timeline.played_classes import PlayedClass, PlayedClasses, label_of
from fakerun.analysis.time.timeline.runs import Run, run_of
from fakerun.records.collective import CollectiveRecord
from fakerun.records.device_program import DeviceProgram, Operation
from fakerun.records.schedule import ScheduledCall


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Calls that a rank issues as one: coalesced ones, or a single one.

    `calls` are their numbers among the rank's calls on devices. `meetings` are those that it takes part in, one for each call that is
    matched with others: the number of the matched queues, and the call's position in them. It `is_alone` if all members are of this class:
    they arrive at the same time.
    """

    calls: tuple[int, ...]
    meetings: tuple[tuple[int, int], ...]
    communicators: tuple[int, ...]
    seconds: float
    occupancy: float
    """The share of the multiprocessors that its kernels occupy."""
    label: str
    is_alone: bool


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one class of ranks plays. `blocks` has for each played call on a device the block that it belongs to.

    `operations_before` has for each run how many operations with kernels the measured step issues before it, and the sum at its end.
    """

    number: int
    program: PlayedProgram
    runs: Sequence[Run]
    blocks: Sequence[Block]
    devices: Sequence[int]
    """Of each stream."""
    communicators: int
    operations_before: Sequence[int]


class OperationPrices(Protocol):
    """Knows what operations cost."""

    def of(self, operation: Operation) -> OperationCost | None:
        """The cost of an operation; None if it has no kernel."""


class CallPrices(Protocol):
    """Knows what communication calls cost."""

    def of(self, call: CollectiveRecord, rank: int) -> CallCost:
        """The cost of a call of this rank."""

    def of_coalesced(self, calls: Sequence[CollectiveRecord], rank: int) -> CallCost:
        """The cost of calls that this rank issues as one."""


class Parts:
    """Makes the parts. Programs, costs and schedules that classes share are read once."""

    def __init__(
        self,
        classes: PlayedClasses,
        step: int,
        operations: OperationPrices,
        calls: CallPrices,
        multiprocessors: int,
        times: HostTimes,
    ) -> None:
        self._classes = classes
        self._step = step
        self._operations = operations
        self._calls = calls
        self._times = times
        self._multiprocessors = multiprocessors
        self._operation_costs: dict[Operation, OperationCost | None] = {}
        self._programs: dict[int, tuple[PlayedProgram, Sequence[Run], Sequence[int]]] = {}
        self._call_costs: dict[tuple[int, Hashable], _CallCosts] = {}

    def of(self, each: PlayedClass) -> Part:
        """The part of a class."""
        program = each.view.record.program
        played, runs, operations_before = self._program(program, each)
        blocks, communicators = self._blocks(each, played.first_call)
        return Part(
            number=each.number,
            program=played,
            runs=runs,
            blocks=blocks,
            devices=[stream.device for stream in program.streams] or [0],
            communicators=communicators,
            operations_before=operations_before,
        )

    def costs_of(self, program: DeviceProgram) -> Sequence[OperationCost | None]:
        """The costs of a program's operations, by number."""
        return tuple(map(self._operation_cost, program.operations))

    def _operation_cost(self, operation: Operation) -> OperationCost | None:
        if operation not in self._operation_costs:
            self._operation_costs[operation] = self._operations.of(operation)
        return self._operation_costs[operation]

    def _program(self, program: DeviceProgram, each: PlayedClass) -> tuple[PlayedProgram, Sequence[Run], Sequence[int]]:
        known = self._programs.get(id(program))
        if known is None:
            costs = self.costs_of(program)
            played = played_program(program, each.view.schedule.schedule, self._step, [cost is not None for cost in costs])
            runs = [run_of([costs[number] for number in run.operations], self._times, is_replayed=run.is_replayed) for run in played.runs]
            known = self._programs[id(program)] = played, runs, _operations_before(played, runs)
        return known

    def _blocks(self, each: PlayedClass, first_call: int) -> tuple[Sequence[Block], int]:
        """The block of each played call, and how many communicators there are."""
        schedule, matched = each.view.schedule, self._classes.matched
        costs = self.call_costs(each)
        on_devices = [index for index, call in enumerate(schedule.calls) if call.device is not None]
        number_of = {index: number - first_call for number, index in enumerate(on_devices)}
        communicators: dict[Hashable, int] = {}
        position: Counter[Hashable] = Counter()
        found: dict[int, Block] = {}
        meetings: dict[int, tuple[int, int]] = {}
        for index in on_devices:
            queue = each.order.calls[index].queue
            if queue is not None:
                meetings[index] = matched[each.number, queue], position[queue]
                position[queue] += 1
        for index in on_devices[first_call:]:
            if number_of[index] in found:
                continue
            together = [other for other in each.order.completing_with(index) if number_of[other] >= 0]
            cost = costs.of(together)
            met = tuple(meetings[other] for other in together if other in meetings)
            block = Block(
                calls=tuple(number_of[other] for other in together),
                meetings=met,
                communicators=_communicators(map(each.order.calls.__getitem__, together), communicators),
                seconds=cost.seconds,
                occupancy=cost.multiprocessors / self._multiprocessors,
                label=label_of(each.view.calls.groups[schedule.calls[index].slot].label),
                is_alone=all(len(self._classes.members[queues]) == 1 for queues, _ in met),
            )
            found.update(dict.fromkeys(block.calls, block))
        return [found[number] for number in range(len(found))], len(communicators)

    def call_costs(self, each: PlayedClass) -> "_CallCosts":
        """The costs of a class's calls."""
        key = id(each.view.schedule), each.placement
        known = self._call_costs.get(key)
        if known is None:
            known = self._call_costs[key] = _CallCosts(each, self._calls)
        return known


def skipped_calls(classes: PlayedClasses, parts: Sequence[Part]) -> Sequence[Sequence[int]]:
    """By number of matched queues: for each of these how many of its calls are before the part that is played."""
    skipped: dict[Hashable, int] = defaultdict(int)
    for each, part in zip(classes.classes, parts, strict=True):
        on_devices = (index for index, call in enumerate(each.view.schedule.calls) if call.device is not None)
        for _, index in zip(range(part.program.first_call), on_devices, strict=False):
            skipped[each.number, each.order.calls[index].queue] += 1
    return [[skipped[member] for member in members] for members in classes.members]


def _communicators(calls: Iterable[IssuedCall], numbers: dict[Hashable, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers.setdefault(call.communicator, len(numbers)) for call in calls))


def _operations_before(program: PlayedProgram, runs: Sequence[Run]) -> Sequence[int]:
    counts = []
    step = program.measured_step
    is_measured = step == 0
    for action, number, _ in program.items:
        if action is Action.RUN:
            counts.append(len(runs[number].durations_s) if is_measured else 0)
        elif action is Action.STEP_END:
            is_measured = number == step - 1
    return array("i", accumulate(counts, initial=0))


class _CallCosts:
    """The costs of the calls of one schedule, each distinct one once."""

    def __init__(self, each: PlayedClass, prices: CallPrices) -> None:
        self._each = each
        self._prices = prices
        self._known: dict[Hashable, CallCost] = {}

    def of(self, indices: Sequence[int]) -> CallCost:
        """The cost of calls that are issued as one."""
        calls = self._each.view.schedule.calls
        key = tuple(_payload(calls[index]) for index in indices)
        known = self._known.get(key)
        if known is None:
            rank = self._each.representative
            records = [self._each.view.calls[index] for index in indices]
            known = self._prices.of(records[0], rank) if len(records) == 1 else self._prices.of_coalesced(records, rank)
            self._known[key] = known
        return known


def _payload(call: ScheduledCall) -> Hashable:
    """What decides about the cost of a call within one schedule."""
    return (
        call.slot,
        call.op,
        call.dtype,
        call.nbytes,
        call.input_sizes,
        call.output_sizes,
        call.reduce_op,
        call.input_splits,
        call.output_splits,
        call.peer_offset,
        call.root_group_rank,
    )
