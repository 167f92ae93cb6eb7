"""Collectives of two groups that are in flight together, and that ranks start in different orders.

The calls of each group match, and no stream waits for another. But kernels of two NCCL communicators may not fit on the GPU together:
if one rank runs the first and another rank the second, both wait (NCCL documentation, "Using multiple NCCL communicators concurrently";
meta-pytorch/torchrec #4149). If a stream waits in between it is a deadlock, and reported as one.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import TypeAlias

from fakerun.analysis.dependency import Group, SimulatedWorld, UniqueSchedule
from fakerun.analysis.matching.compare.interning import InternedCalls
from fakerun.analysis.matching.description import at, describe_call, describe_position, other_sites
from fakerun.records.collective import P2P_OPS
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.schedule import ScheduledCall
from fakerun.units import name_ranks

_HINT = "Start them in the same order on every rank, or wait for the first before starting the second."

Pair: TypeAlias = tuple[Group, Group]

Event: TypeAlias = tuple[int, int]
"""A collective of one of two groups: which group (0 or 1), and its position on it."""


@dataclass(frozen=True, slots=True, eq=False)
class _StartOrder:
    """The collectives of two groups in the order in which a rank starts them: the index of each, and of the call before which it ends."""

    starts: Mapping[Event, int]
    ends: Mapping[Event, float]


class OrderInversions:
    """Finds pairs of groups whose collectives ranks start in different orders."""

    def __init__(self, world: SimulatedWorld, interned: InternedCalls) -> None:
        self._world = world
        self._interned = interned
        self._orders: dict[Hashable, _StartOrder] = {}
        self._sequences: dict[tuple[Event, ...], tuple[Event, ...]] = {}

    def findings(self, desynchronised: Collection[Group], deadlocked: Collection[int]) -> Iterator[Finding]:
        """One `order-inversion` for two lines, whatever the groups.

        Desynchronised groups are left out, because their calls do not match; deadlocked ranks, because the deadlock already says so.
        """
        found: dict[Hashable, Finding] = {}
        for pair in self._pairs():
            inversion = None if any(group in desynchronised for group in pair) else self._inversion(pair)
            if inversion is not None and not set(inversion.ranks) & set(deadlocked):
                key = inversion.call_site, pair[0].label, pair[1].label
                known = found.get(key)
                found[key] = inversion if known is None else replace(known, ranks=tuple(sorted({*known.ranks, *inversion.ranks})))
        yield from found.values()

    def _pairs(self) -> Iterator[Pair]:
        """Groups of which some rank has collectives in flight together."""
        in_flight_together = cache(_slots_in_flight_together)
        seen: set[tuple[int, int]] = set()
        for view in self._world.ranks.values():
            for one, other in in_flight_together(view.schedule):
                first, second = (view.groups[view.group_of_slot[slot]] for slot in (one, other))
                key = min(id(first), id(second)), max(id(first), id(second))
                if first is not second and key not in seen:
                    seen.add(key)
                    yield first, second

    def _inversion(self, pair: Pair) -> Finding | None:
        shared = pair[0].slots.keys() & pair[1].slots.keys()
        ranks: dict[tuple[Event, ...], list[int]] = defaultdict(list)
        for rank in sorted(shared) if len(shared) > 1 else ():
            ranks[self._sequence(self._order(rank, pair))].append(rank)
        if len(ranks) < 2:
            return None
        (_, majority), *others = sorted(ranks.items(), key=lambda item: (-len(item[1]), item[1][0]))
        for _, outliers in others:
            inverted = _inverted(self._order(majority[0], pair), self._order(outliers[0], pair))
            if inverted is not None:
                return self._finding(pair, inverted, majority, outliers)
        return None

    def _order(self, rank: int, pair: Pair) -> _StartOrder:
        calls = [self._interned.of(rank, group) for group in pair]
        key = calls[0], calls[1]
        order = self._orders.get(key)
        if order is None:
            schedule = calls[0].schedule
            events = sorted((index, (which, nth)) for which in (0, 1) for nth, index in enumerate(calls[which].collectives.indices))
            starts = {event: index for index, event in events}
            order = self._orders[key] = _StartOrder(starts, {event: _end(schedule.calls[index], index) for event, index in starts.items()})
        return order

    def _sequence(self, order: _StartOrder) -> tuple[Event, ...]:
        events = tuple(order.starts)
        return self._sequences.setdefault(events, events)

    def _finding(self, pair: Pair, inverted: tuple[Event, Event], majority: Sequence[int], outliers: Sequence[int]) -> Finding:
        starts, majority_starts = self._order(outliers[0], pair).starts, self._order(majority[0], pair).starts
        later, earlier = inverted
        with_name = pair[0].label == pair[1].label and pair[0].ranks == pair[1].ranks
        records = [self._world.record(outliers[0], starts[event]) for event in (earlier, later)]
        calls = [
            f"{describe_call(record)} ({describe_position(record, position, with_name=with_name)})"
            for record, (_, position) in zip(records, (earlier, later), strict=True)
        ]
        theirs = [self._world.record(majority[0], majority_starts[event]) for event in inverted]
        sites = dict.fromkeys(map(at, theirs))
        s = "s" * (len(outliers) == 1)
        they = "starts them" if len(majority) == 1 else "start them"
        return Finding(
            code=FindingCode.ORDER_INVERSION,
            message=f"{name_ranks(outliers)} start{s} {calls[0]} before {calls[1]}, {name_ranks(majority)} {they} in the opposite order"
            f"{' and'.join(sites)}, and both are in flight together.",
            ranks=tuple(outliers) if len(majority) > len(outliers) else tuple(sorted((*majority, *outliers))),
            call_site=records[0].call_site,
            hint=_HINT,
            other_call_sites=other_sites(records[0].call_site, (record.call_site for record in (*records, *theirs))),
        )


def _end(call: ScheduledCall, index: int) -> float:
    """The index of the call before which that call is waited for."""
    if not call.is_async:
        return index + 1
    return inf if call.waited_before is None else call.waited_before


def _slots_in_flight_together(schedule: UniqueSchedule) -> set[tuple[int, int]]:
    """Pairs of slots with collectives on the GPU of which one starts while the other is in flight."""
    found: set[tuple[int, int]] = set()
    in_flight: dict[int, float] = {}
    for index, call in enumerate(schedule.calls):
        if call.op in P2P_OPS or call.device is None:
            continue
        found.update((slot, call.slot) for slot, end in in_flight.items() if end > index and slot != call.slot)
        if call.is_async:
            in_flight[call.slot] = max(in_flight.get(call.slot, 0), _end(call, index))
    return found


def _inverted(majority: _StartOrder, outlier: _StartOrder) -> tuple[Event, Event] | None:
    """Two calls that are in flight together on one side at least; `majority` starts the first of them first, `outlier` the second."""
    return _started_later(majority, outlier) or next((pair[::-1] for pair in [_started_later(outlier, majority)] if pair is not None), None)


def _started_later(one: _StartOrder, other: _StartOrder) -> tuple[Event, Event] | None:
    """Two calls in flight together on `one`, which `other` starts in the opposite order."""
    in_flight: list[Event] = []
    for event, index in one.starts.items():
        in_flight = [each for each in in_flight if one.ends[each] > index]
        for each in in_flight:
            if each[0] != event[0] and each in other.starts and event in other.starts and other.starts[event] < other.starts[each]:
                return each, event
        in_flight.append(event)
    return None
