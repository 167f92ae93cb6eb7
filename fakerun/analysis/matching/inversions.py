"""Collectives of two groups that are under way together, and that ranks start in different orders.

Each group's calls meet as they should, and no stream waits for another. But kernels of two NCCL communicators may not fit on the GPU
together: where one rank runs the one first and another rank the other, both wait (NCCL's documentation, "Using multiple NCCL
communicators concurrently"; meta-pytorch/torchrec #4149). Where a stream waits in between it is a circle, and told as one.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import TypeAlias

from fakerun.analysis.matching.cast import Cast, Group
from fakerun.analysis.matching.signature import MESSAGES
from fakerun.analysis.matching.traces import Trace
from fakerun.analysis.matching.words import at, call, on, who
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.schedule import ScheduledCall

_HINT = "Start them in one order on every rank, or wait for the first before the second is started."

Event: TypeAlias = tuple[int, int]
"""A collective of one of two groups: which group (0 or 1), and the how-manyeth on it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """The collectives of two groups in the order in which a rank starts them: the call that each is, and the one before which it ended."""

    calls: Mapping[Event, int]
    ends: Mapping[Event, float]


class Inversions:
    """Looks for pairs of groups in which ranks start collectives in different orders."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._orders: dict[Hashable, _Order] = {}
        self._sequences: dict[tuple[Event, ...], tuple[Event, ...]] = {}

    def findings(self, aside: Collection[Group], waiting: Collection[int]) -> Iterator[Finding]:
        """One `order-inversion` for two lines, whatever the groups; none of groups `aside`, nor of ranks that wait in a circle."""
        found: dict[Hashable, Finding] = {}
        for pair in self._pairs():
            inversion = None if any(group in aside for group in pair) else self._inversion(pair)
            if inversion is not None and not set(inversion.ranks) & set(waiting):
                key = inversion.call_site, pair[0].title, pair[1].title
                told = found.get(key)
                found[key] = inversion if told is None else replace(told, ranks=tuple(sorted({*told.ranks, *inversion.ranks})))
        yield from found.values()

    def _pairs(self) -> Iterator[tuple[Group, Group]]:
        """Groups of which some rank has collectives under way together."""
        together = cache(_slots_together)
        seen: set[tuple[int, int]] = set()
        for seat in self._cast.seats.values():
            for one, other in together(seat.trace):
                first, second = (seat.ports[seat.port_of[slot]] for slot in (one, other))
                key = min(id(first), id(second)), max(id(first), id(second))
                if first is not second and key not in seen:
                    seen.add(key)
                    yield first, second

    def _inversion(self, pair: tuple[Group, Group]) -> Finding | None:
        shared = pair[0].users.keys() & pair[1].users.keys()
        ranks: dict[tuple[Event, ...], list[int]] = defaultdict(list)
        for rank in sorted(shared) if len(shared) > 1 else ():
            order = self._order(rank, pair)
            ranks[self._sequence(order)].append(rank)
        if len(ranks) < 2:
            return None
        (_, usual), *others = sorted(ranks.items(), key=lambda item: (-len(item[1]), item[1][0]))
        for _, odd in others:
            inverted = _inverted(self._order(usual[0], pair), self._order(odd[0], pair))
            if inverted is not None:
                return self._finding(pair, inverted, usual, odd)
        return None

    def _order(self, rank: int, pair: tuple[Group, Group]) -> _Order:
        views = [self._cast.view(rank, group) for group in pair]
        key = views[0], views[1]
        order = self._orders.get(key)
        if order is None:
            trace = views[0].trace
            events = sorted((index, (which, nth)) for which in (0, 1) for nth, index in enumerate(views[which].collectives.calls))
            calls = {event: index for index, event in events}
            order = self._orders[key] = _Order(calls, {event: _end(trace.schedule.calls[index], index) for event, index in calls.items()})
        return order

    def _sequence(self, order: _Order) -> tuple[Event, ...]:
        events = tuple(order.calls)
        return self._sequences.setdefault(events, events)

    def _finding(self, pair: tuple[Group, Group], inverted: tuple[Event, Event], usual: Sequence[int], odd: Sequence[int]) -> Finding:
        first, second = inverted
        order = self._order(odd[0], pair)
        records = [self._cast.record(odd[0], order.calls[event]) for event in (second, first)]
        calls = [f"{call(record)} ({on(record, nth)})" for record, (_, nth) in zip(records, (second, first), strict=True)]
        usual_order = self._order(usual[0], pair)
        sites = [at(self._cast.record(usual[0], usual_order.calls[event])) for event in inverted]
        lines = sites[0] if sites[0] == sites[1] else f"{sites[0]} and{sites[1]}"
        before = f"{who(usual)} in the other order{lines}"
        return Finding(
            code=FindingCode.ORDER_INVERSION,
            message=f"{who(odd)} start{'s' * (len(odd) == 1)} {calls[0]} before {calls[1]}, {before}, while both are under way.",
            ranks=tuple(odd) if len(usual) > len(odd) else tuple(sorted((*usual, *odd))),
            call_site=records[0].call_site,
            hint=_HINT,
        )


def _end(each: ScheduledCall, index: int) -> float:
    """The call before which it was waited for."""
    if not each.is_async:
        return index + 1
    return inf if each.waited_before is None else each.waited_before


def _slots_together(trace: Trace) -> set[tuple[int, int]]:
    """Slots with collectives on the GPU of which one starts while another is under way."""
    found: set[tuple[int, int]] = set()
    under_way: dict[int, float] = {}
    for index, each in enumerate(trace.schedule.calls):
        if each.op in MESSAGES or each.device is None:
            continue
        found.update((slot, each.slot) for slot, end in under_way.items() if end > index and slot != each.slot)
        if each.is_async:
            under_way[each.slot] = max(under_way.get(each.slot, 0), _end(each, index))
    return found


def _inverted(usual: _Order, odd: _Order) -> tuple[Event, Event] | None:
    """Two calls that are under way together on one side or both, the first of them started first by `usual` and last by `odd`."""
    return _started_later(usual, odd) or next((pair[::-1] for pair in [_started_later(odd, usual)] if pair is not None), None)


def _started_later(one: _Order, other: _Order) -> tuple[Event, Event] | None:
    """Two calls under way together with `one`, which `other` starts the other way round."""
    under_way: list[Event] = []
    for event, index in one.calls.items():
        under_way = [each for each in under_way if one.ends[each] > index]
        for each in under_way:
            if each[0] != event[0] and each in other.calls and event in other.calls and other.calls[event] < other.calls[each]:
                return each, event
        under_way.append(event)
    return None
