"""Turns communication calls into records: where in the program, on which mesh axis."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fakerun.records.collective import CollectiveOp, CollectiveRecord, CommunicationCall
from fakerun.records.memory import Category
from fakerun.records.observer import RecordMark
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.group_names import GroupNames
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program_point import ProgramPoint
from fakerun.trace.steps import StepCounter

_GATHERS = frozenset({CollectiveOp.ALL_GATHER, CollectiveOp.ALL_GATHER_INTO_TENSOR})
"""Operations whose outputs are buffers that live only for what was gathered."""


class CollectiveTrace:
    """The rank's communication calls in order. Implements `CommunicationObserver` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint, groups: GroupNames, memory: MemoryTrace, steps: StepCounter, devices: DeviceOrdinals) -> None:
        self._point = point
        self._devices = devices
        self._groups = groups
        self._memory = memory
        self._steps = steps
        self._records: list[CollectiveRecord] = []
        self._waited_before: dict[int, int | None] = {}

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
            self._waited_before[call] = len(self._records)

    def mark(self) -> RecordMark:
        return RecordMark(calls=len(self._records), steps=self._steps.completed)

    def repeated(self, since: RecordMark, until: RecordMark) -> None:
        ended = since.steps
        for number in range(since.calls, until.calls):
            for _ in range(ended, step := self._records[number].step):
                self._steps.end_step()
            ended = step
            self._repeat(number)
        for _ in range(ended, until.steps):
            self._steps.end_step()

    # -- records -----------------------------------------------------------------------------------------------------------------------

    def _add(self, call: CommunicationCall) -> int:
        point = self._point
        record = CollectiveRecord(
            seq=len(self._records),
            step=point.step,
            phase=point.phase(),
            module=point.module(),
            call_site=point.call_site(),
            op=call.op,
            dtype=call.dtype,
            input_sizes=call.input_sizes,
            output_sizes=call.output_sizes,
            nbytes=call.nbytes,
            reduce_op=call.reduce_op,
            tag=call.tag,
            input_splits=call.input_splits,
            output_splits=call.output_splits,
            is_async=call.is_async,
            coalesced=call.coalesced,
            device=None if call.cuda_index is None else self._devices[call.cuda_index],
            waited=True,
            waited_before=None,
            group=self._groups.name(call.group_ranks, call.group_description),
            group_ranks=call.group_ranks,
            process_group=call.process_group,
            root=call.root,
            peer=call.peer,
        )
        self._records.append(record)
        if record.is_async:
            self._waited_before[record.seq] = None
        return record.seq

    def __len__(self) -> int:
        """How many calls there were so far."""
        return len(self._records)

    def _repeat(self, number: int) -> None:
        """Record the call of this number once more, from the same place in the program, waited for as it was."""
        again = len(self._records)
        record = self._records[number]
        coalesced = None if record.coalesced is None else record.coalesced + again - number
        self._records.append(replace(record, seq=again, step=self._point.step, coalesced=coalesced))
        if number in self._waited_before:
            waited_before = self._waited_before[number]
            self._waited_before[again] = None if waited_before is None else waited_before + again - number

    def records(self) -> tuple[CollectiveRecord, ...]:
        """All records so far."""
        return tuple(self._with_wait(record) if record.is_async else record for record in self._records)

    def _with_wait(self, record: CollectiveRecord) -> CollectiveRecord:
        waited_before = self._waited_before[record.seq]
        return replace(record, waited=waited_before is not None, waited_before=waited_before)
