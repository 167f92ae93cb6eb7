"""The groups that the script makes, in order: those that one line makes are kept as one entry."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fakerun.call_site import CallSite
from fakerun.records.run import GroupCreation

_Ranks = tuple[int, ...]


@dataclass(slots=True)
class _Entry:
    """Groups of the same size, made one after the other at the same point of the program."""

    size: int
    callers: _Ranks | None
    before: int
    call_site: CallSite | None
    ranks: list[int] = field(default_factory=list)


class GroupCreations:
    """Takes groups as they are made. A mesh, or a loop over all data parallel groups of a large world, is an entry or two."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, groups: Sequence[_Ranks], callers: _Ranks | None, before: int, call_site: CallSite | None) -> None:
        """Groups were made by a call that `callers` must make (None: all ranks), before the communication call of this number."""
        for ranks in groups:
            entry = _Entry(len(ranks), callers, before, call_site)
            last = self._entries[-1] if self._entries else None
            if last is None or (last.size, last.callers, last.before, last.call_site) != (entry.size, callers, before, call_site):
                self._entries.append(last := entry)
            last.ranks.extend(ranks)

    def records(self) -> tuple[GroupCreation, ...]:
        """All up to now."""
        return tuple(
            GroupCreation(
                ranks=tuple(entry.ranks),
                count=len(entry.ranks) // entry.size if entry.size else 1,
                callers=entry.callers,
                before=entry.before,
                call_site=entry.call_site,
            )
            for entry in self._entries
        )
