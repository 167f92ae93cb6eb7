"""Turns communication calls into records: where in the program, on which mesh axis."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fakerun.records.collective import CollectiveOp, CollectiveRecord, CommunicationCall
from fakerun.records.group_names import GroupNames
from fakerun.records.issued_call import IssuedCall
from fakerun.records.journal import Journal
from fakerun.records.memory import Category
from fakerun.records.observer import RecordMark, StreamKey
from fakerun.records.training_steps import TrainingSteps
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.graph_replay import GraphReplay
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program import ProgramTrace
from fakerun.trace.program_point import ProgramPoint
from fakerun.trace.steps import StepCounter

_GATHERS = frozenset({CollectiveOp.ALL_GATHER, CollectiveOp.ALL_GATHER_INTO_TENSOR})
"""Operations whose outputs are buffers that live only for what was gathered."""


class CollectiveTrace:
    """The rank's communication calls in order. Implements `CommunicationObserver` (fakerun.records.observer)."""

    def __init__(
        self,
        point: ProgramPoint,
        groups: GroupNames,
        memory: MemoryTrace,
        program: ProgramTrace,
        steps: StepCounter,
        devices: DeviceOrdinals,
        journal: Journal,
    ) -> None:
        self._journal = journal
        self._point = point
        self._devices = devices
        self._groups = groups
        self._memory = memory
        self._program = program
        self._steps = steps
        self._calls: list[IssuedCall] = []
        self._on_devices = 0
        self._number_on_devices: dict[int, int] = {}
        """Of each call on a device: how many there were before."""
        self._waited_before: dict[int, int | None] = {}
        """Of each asynchronous call: the number of the first call after it was waited for, None until then."""

    # -- CommunicationObserver -------------------------------------------------------------------------------------------------------

    def communicated(self, call: CommunicationCall, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> int:
        """Record a call at the program's present position, and what its tensors are for; returns the call's number."""
        number = self._add(call)
        for tensor in (*inputs, *outputs):
            self._memory.categorise(tensor, Category.COMMUNICATION)
        if call.op in _GATHERS:
            self._memory.communication_buffers(outputs)
        return number

    def waited_for(self, call: int) -> None:
        if call in self._waited_before and self._waited_before[call] is None:
            self.future_taken(call)
            self._program_waits(call)

    def future_taken(self, call: int) -> None:
        if call in self._waited_before and self._waited_before[call] is None:
            self._waited_before[call] = len(self._calls)
            self._journal.waited(call)

    def stream_waited_for(self, call: int) -> None:
        self._program_waits(call)

    def mark(self) -> RecordMark:
        return RecordMark(calls=len(self._calls), optimizer_steps=self._steps.taken, requests=len(self._program))

    def replayed(self, since: RecordMark, until: RecordMark, *, captured_on: StreamKey, replayed_on: StreamKey) -> None:
        number = self._program.stream_number
        replay = GraphReplay(self._program, since.requests, captured_on=number(captured_on), replayed_on=number(replayed_on))
        taken = since.optimizer_steps
        for call in range(since.calls, until.calls):
            self._repeat_steps(replay, taken, taken := self._calls[call].optimizer_steps)
            self._repeat(call)
        self._repeat_steps(replay, taken, until.optimizer_steps)
        replay.go_on(until.requests)
        replay.end()

    # -- records -----------------------------------------------------------------------------------------------------------------------

    def _add(self, call: CommunicationCall) -> int:
        point = self._point
        number = len(self._calls)
        if call.cuda_index is not None:
            self._program.communicated(call.cuda_index)
        self._append(
            IssuedCall(
                call=call,
                optimizer_steps=point.optimizer_steps,
                phase=point.phase(),
                module=point.module(),
                call_site=point.call_site(),
                coalesced=call.coalesced,
                device=None if call.cuda_index is None else self._devices[call.cuda_index],
            )
        )
        if call.is_async:
            self._waited_before[number] = None
        else:
            self._program_waits(number)
        return number

    def _program_waits(self, number: int) -> None:
        """The current stream waits for the call of this number, if that is on a device."""
        before, index = self._number_on_devices.get(number), self._calls[number].call.cuda_index
        if before is not None and index is not None:
            self._program.waited_for_call(self._on_devices - 1 - before, index)
            if self._calls[number].call.op is CollectiveOp.BARRIER:
                self._program.host_waited(index)  # `WorkNCCL::synchronizeInternal` of torch/csrc, 2.13

    def _append(self, issued: IssuedCall) -> None:
        if issued.call.cuda_index is not None:
            self._number_on_devices[len(self._calls)] = self._on_devices
            self._on_devices += 1
        self._calls.append(issued)
        self._journal.called(issued)

    def __len__(self) -> int:
        """How many calls there were so far."""
        return len(self._calls)

    def _repeat_steps(self, replay: GraphReplay, since: int, until: int) -> None:
        for number in range(since + 1, until + 1):
            replay.go_on(self._memory.end_of_optimizer_step(number))
            self._steps.repeat(number)

    def _repeat(self, number: int) -> None:
        """Record the call of this number once more, from the same place in the program, waited for as it was."""
        again = len(self._calls)
        placed = self._calls[number]
        coalesced = None if placed.coalesced is None else placed.coalesced + again - number
        self._append(replace(placed, optimizer_steps=self._point.optimizer_steps, coalesced=coalesced))
        if number in self._waited_before:
            waited_before = self._waited_before[number]
            self._waited_before[again] = None if waited_before is None else waited_before + again - number
            if waited_before is not None:
                self._journal.waited(again)

    def records(self) -> tuple[CollectiveRecord, ...]:
        """All records so far."""
        names: dict[tuple[tuple[int, ...], str], str | None] = {}
        steps = self._steps.training_steps()
        return tuple(self._record(number, placed, names, steps) for number, placed in enumerate(self._calls))

    def _record(
        self, number: int, placed: IssuedCall, names: dict[tuple[tuple[int, ...], str], str | None], steps: TrainingSteps
    ) -> CollectiveRecord:
        group = placed.call.group_ranks, placed.call.group_description
        if group not in names:
            names[group] = self._groups.name(*group)
        return placed.record(
            seq=number, step=steps.of(placed.optimizer_steps), group=names[group], waited_before=self._waited_before.get(number)
        )
