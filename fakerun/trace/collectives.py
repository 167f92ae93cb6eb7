"""Turns communication calls into records: where in the program, on which mesh axis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveOp, CollectiveRecord, CommunicationCall, Phase
from fakerun.records.memory import Category
from fakerun.records.observer import RecordMark
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.group_names import GroupNames
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program_point import ProgramPoint
from fakerun.trace.steps import StepCounter, TrainingSteps

_GATHERS = frozenset({CollectiveOp.ALL_GATHER, CollectiveOp.ALL_GATHER_INTO_TENSOR})
"""Operations whose outputs are buffers that live only for what was gathered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlacedCall:
    """A call and its place in the program. Its group is named at the end: the mesh that names it may be made after the call."""

    call: CommunicationCall
    optimizer_steps: int
    """How many the script had taken before."""
    phase: Phase
    module: str | None
    call_site: CallSite | None
    coalesced: int | None
    device: int | None


class CollectiveTrace:
    """The rank's communication calls in order. Implements `CommunicationObserver` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint, groups: GroupNames, memory: MemoryTrace, steps: StepCounter, devices: DeviceOrdinals) -> None:
        self._point = point
        self._devices = devices
        self._groups = groups
        self._memory = memory
        self._steps = steps
        self._calls: list[_PlacedCall] = []
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
            self._waited_before[call] = len(self._calls)

    def mark(self) -> RecordMark:
        return RecordMark(calls=len(self._calls), optimizer_steps=self._steps.taken)

    def repeated(self, since: RecordMark, until: RecordMark) -> None:
        taken = since.optimizer_steps
        for number in range(since.calls, until.calls):
            self._repeat_steps(taken, taken := self._calls[number].optimizer_steps)
            self._repeat(number)
        self._repeat_steps(taken, until.optimizer_steps)

    # -- records -----------------------------------------------------------------------------------------------------------------------

    def _add(self, call: CommunicationCall) -> int:
        point = self._point
        number = len(self._calls)
        self._calls.append(
            _PlacedCall(
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
        return number

    def __len__(self) -> int:
        """How many calls there were so far."""
        return len(self._calls)

    def _repeat_steps(self, since: int, until: int) -> None:
        for number in range(since + 1, until + 1):
            self._steps.repeat(number)

    def _repeat(self, number: int) -> None:
        """Record the call of this number once more, from the same place in the program, waited for as it was."""
        again = len(self._calls)
        placed = self._calls[number]
        coalesced = None if placed.coalesced is None else placed.coalesced + again - number
        self._calls.append(replace(placed, optimizer_steps=self._point.optimizer_steps, coalesced=coalesced))
        if number in self._waited_before:
            waited_before = self._waited_before[number]
            self._waited_before[again] = None if waited_before is None else waited_before + again - number

    def records(self) -> tuple[CollectiveRecord, ...]:
        """All records so far."""
        names: dict[tuple[tuple[int, ...], str], str | None] = {}
        steps = self._steps.training_steps()
        return tuple(self._record(number, placed, names, steps) for number, placed in enumerate(self._calls))

    def _record(
        self, number: int, placed: _PlacedCall, names: dict[tuple[tuple[int, ...], str], str | None], steps: TrainingSteps
    ) -> CollectiveRecord:
        call = placed.call
        group = call.group_ranks, call.group_description
        if group not in names:
            names[group] = self._groups.name(*group)
        waited_before = self._waited_before.get(number)
        return CollectiveRecord(
            seq=number,
            step=steps.of(placed.optimizer_steps),
            phase=placed.phase,
            module=placed.module,
            call_site=placed.call_site,
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
            coalesced=placed.coalesced,
            device=placed.device,
            waited=not call.is_async or waited_before is not None,
            waited_before=waited_before,
            group=names[group],
            group_ranks=call.group_ranks,
            process_group=call.process_group,
            root=call.root,
            peer=call.peer,
        )
