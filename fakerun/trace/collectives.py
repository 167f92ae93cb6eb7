"""Turns communication calls into records: where in the program, on which mesh axis."""

from dataclasses import fields, replace

from fakerun.records.collective import CollectiveRecord, CommunicationCall
from fakerun.trace.groups import GroupNames
from fakerun.trace.position import Position

_SHARED = tuple(field.name for field in fields(CommunicationCall) if field.name != "group_description")
"""What a record takes over from the call as it is."""


class CollectiveTrace:
    """The rank's communication calls in order."""

    def __init__(self, position: Position, groups: GroupNames) -> None:
        self._position = position
        self._groups = groups
        self._records: list[CollectiveRecord] = []
        self._unwaited: set[int] = set()

    def add(self, call: CommunicationCall) -> int:
        """Record a call at the program's present position; returns its number."""
        position = self._position
        record = CollectiveRecord(
            seq=len(self._records),
            step=position.step,
            phase=position.phase(),
            module=position.module(),
            call_site=position.call_site(),
            group=self._groups.name(call.group_ranks, call.group_description),
            **{name: getattr(call, name) for name in _SHARED},
        )
        self._records.append(record)
        if record.is_async:
            self._unwaited.add(record.seq)
        return record.seq

    def waited_for(self, number: int) -> None:
        """The call of this number was waited for."""
        self._unwaited.discard(number)

    def records(self) -> tuple[CollectiveRecord, ...]:
        """All records so far."""
        return tuple(replace(record, waited=False) if record.seq in self._unwaited else record for record in self._records)
