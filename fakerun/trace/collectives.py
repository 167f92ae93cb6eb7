"""Turns communication calls into records: where in the program, on which mesh axis."""

from dataclasses import replace

from fakerun.records.collective import CollectiveRecord, CommunicationCall
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.groups import GroupNames
from fakerun.trace.position import Position


class CollectiveTrace:
    """The rank's communication calls in order."""

    def __init__(self, position: Position, groups: GroupNames, devices: DeviceOrdinals) -> None:
        self._position = position
        self._devices = devices
        self._groups = groups
        self._records: list[CollectiveRecord] = []
        self._waited_before: dict[int, int | None] = {}

    def add(self, call: CommunicationCall) -> int:
        """Record a call at the program's present position; returns its number."""
        position = self._position
        record = CollectiveRecord(
            seq=len(self._records),
            step=position.step,
            phase=position.phase(),
            module=position.module(),
            call_site=position.call_site(),
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

    def step_of(self, number: int) -> int:
        """The step that the call of this number was made in."""
        return self._records[number].step

    def repeat(self, number: int) -> None:
        """The call of this number was made again, from the same place in the program, and waited for as it was."""
        again = len(self._records)
        record = self._records[number]
        coalesced = None if record.coalesced is None else record.coalesced + again - number
        self._records.append(replace(record, seq=again, step=self._position.step, coalesced=coalesced))
        if number in self._waited_before:
            waited_before = self._waited_before[number]
            self._waited_before[again] = None if waited_before is None else waited_before + again - number

    def waited_for(self, number: int) -> None:
        """The call of this number was waited for."""
        if number in self._waited_before and self._waited_before[number] is None:
            self._waited_before[number] = len(self._records)

    def records(self) -> tuple[CollectiveRecord, ...]:
        """All records so far."""
        return tuple(self._with_wait(record) if record.is_async else record for record in self._records)

    def _with_wait(self, record: CollectiveRecord) -> CollectiveRecord:
        waited_before = self._waited_before[record.seq]
        return replace(record, waited=waited_before is not None, waited_before=waited_before)
