"""Classes of ranks: the ranks of a class have equal fingerprints, and one of them represents the class.

A fingerprint covers the schedule of communication calls (`records.schedule`), the memory timeline, the number of steps, the failure,
and where the rank is blocked.
Ranks that were not simulated belong to the class of their representative, in a field of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.device_program import DeviceProgram
from fakerun.records.run import AssumedRanks, Blocked, ProcessFailure, RankRecord
from fakerun.records.schedule import calls_of

Value = TypeVar("Value")

Fingerprint = tuple[int, int, int, ProcessFailure | None, Blocked | None]
"""Equal for ranks of one class: numbers of the schedule and of the memory timeline, steps, the failure, where it is blocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankClass:
    """Ranks with equal fingerprints. `simulated` has at least one rank; both tuples are ascending."""

    simulated: tuple[int, ...]
    assumed: tuple[int, ...] = ()

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted((*self.simulated, *self.assumed)))


def rank_classes(ranks: Iterable[RankRecord], assumed: Iterable[AssumedRanks] = ()) -> tuple[RankClass, ...]:
    """The classes, by their first simulated rank."""
    fingerprints = Fingerprints()
    members: dict[Fingerprint, list[int]] = {}
    for record in ranks:
        members.setdefault(fingerprints.of(record), []).append(record.rank)
    represented: dict[int, list[int]] = {}
    for each in assumed:
        represented.setdefault(each.representative, []).extend(each.ranks)
    return tuple(
        RankClass(
            simulated=tuple(sorted(simulated)),
            assumed=tuple(sorted(rank for representative in simulated for rank in represented.get(representative, ()))),
        )
        for simulated in members.values()
    )


class Fingerprints:
    """Computes fingerprints. Records that share schedules and programs are compared by the identity of these objects first."""

    def __init__(self) -> None:
        self._schedules: _Interning[object] = _Interning()
        self._timelines: _Interning[object] = _Interning()
        self._timeline_of_program: dict[int, tuple[int, DeviceProgram]] = {}

    def of(self, record: RankRecord) -> Fingerprint:
        schedule = self._schedules.number(calls_of(record.rank, record.collectives).schedule)
        blocked = record.blocked and replace(record.blocked, waits_for=())  # each waits for its own neighbour
        return schedule, self._timeline(record.program), record.steps, record.failure, blocked

    def _timeline(self, program: DeviceProgram) -> int:
        """The number of what the program allocates and frees. Ranks of one class may wait in other places: one reads its loss to log it."""
        known = self._timeline_of_program.get(id(program))
        if known is None:
            known = self._timeline_of_program[id(program)] = (self._timelines.number(timeline_of(program)), program)
        return known[0]


class _Interning(Generic[Value]):
    """Numbers values from 0; equal values have equal numbers. Hashing a long value is slow, so each object is hashed once."""

    def __init__(self) -> None:
        self._by_value: dict[Value, int] = {}
        self._by_identity: dict[int, tuple[int, Value]] = {}  # the value keeps the identity from being reused

    def number(self, value: Value) -> int:
        known = self._by_identity.get(id(value))
        if known is None:
            known = self._by_identity[id(value)] = (self._by_value.setdefault(value, len(self._by_value)), value)
        return known[0]
