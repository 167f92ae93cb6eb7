"""Classes of ranks: those whose traces are equal up to renaming of ranks. One of a class stands for all of it.

Equal are the schedule of communication calls (`records.schedule`), the memory timeline, the number of steps and the way it ended. What
was only assumed to be like a simulated rank belongs to that rank's class, and is kept apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fakerun.records.run import AssumedRanks, ProcessFailure, RankRecord
from fakerun.records.schedule import calls_of

Value = TypeVar("Value")

Trace = tuple[int, int, int, ProcessFailure | None]
"""Equal for ranks of one class: numbers for the schedule and the timeline, steps, failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankClass:
    """Ranks that do the same. `simulated` has at least one rank; both are in order."""

    simulated: tuple[int, ...]
    assumed: tuple[int, ...] = ()

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted((*self.simulated, *self.assumed)))


def rank_classes(ranks: Iterable[RankRecord], assumed: Iterable[AssumedRanks] = ()) -> tuple[RankClass, ...]:
    """The classes, in order of their first simulated ranks."""
    traces = Traces()
    members: dict[Trace, list[int]] = {}
    for record in ranks:
        members.setdefault(traces.of(record), []).append(record.rank)
    alike: dict[int, list[int]] = {}
    for each in assumed:
        alike.setdefault(each.representative, []).extend(each.ranks)
    return tuple(
        RankClass(simulated=tuple(sorted(simulated)), assumed=tuple(sorted(rank for like in simulated for rank in alike.get(like, ()))))
        for simulated in members.values()
    )


class Traces:
    """Tells what class a rank is of. Records that share schedules and timelines are compared by these objects' identity first."""

    def __init__(self) -> None:
        self._schedules: _Numbers[object] = _Numbers()
        self._timelines: _Numbers[object] = _Numbers()

    def of(self, record: RankRecord) -> Trace:
        schedule = self._schedules.number(calls_of(record.rank, record.collectives).schedule)
        return schedule, self._timelines.number(record.memory), record.steps, record.failure


class _Numbers(Generic[Value]):
    """Numbers values, equal ones alike. A hash of a long value takes its time: it is taken once for each object."""

    def __init__(self) -> None:
        self._by_value: dict[Value, int] = {}
        self._by_identity: dict[int, tuple[int, Value]] = {}  # the value too: it keeps the identity from being used again

    def number(self, value: Value) -> int:
        known = self._by_identity.get(id(value))
        if known is None:
            known = self._by_identity[id(value)] = (self._by_value.setdefault(value, len(self._by_value)), value)
        return known[0]
