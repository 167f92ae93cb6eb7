"""Ranks that are blocked where no mismatch explains it: they wait for each other, or for a key of a store that nobody sets.

Their records end where they wait, so the wait-for graph, which has the calls that ranks issued, does not show the calls that others wait
for. The records do: each names the ranks that it waits for.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from fakerun.analysis.dependency import Group, SimulatedWorld
from fakerun.analysis.matching.deadlock.cycles import deadlock_finding
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import name_ranks


def blocked_findings(world: SimulatedWorld, mismatched: Collection[Group]) -> Iterator[Finding]:
    """The `deadlock` findings of blocked ranks that wait for each other, and the keys that ranks wait for.

    A rank blocked in one of the groups in which ranks are `mismatched` is blocked because of that.
    """
    yield from _key_findings(world)
    explained = {rank for rank in world.blocked if _group(world, rank) in mismatched}
    reported: set[int] = set()
    for rank in sorted(world.blocked):
        cycle = _cycle_from(world, rank)
        if cycle and explained.isdisjoint(cycle) and reported.isdisjoint(cycle):
            reported.update(cycle)
            yield deadlock_finding(world, [[(each, _call(world, each)) for each in cycle]])


def _cycle_from(world: SimulatedWorld, rank: int) -> Sequence[int]:
    """The blocked ranks that wait for each other, each for the next, found by following `rank`; empty if it leads to one that is not."""
    path: list[int] = []
    while rank not in path:
        path.append(rank)
        blocked = world.ranks[rank].record.blocked
        following = [each for each in blocked.waits_for if each in world.blocked] if blocked is not None else []
        if not following:
            return ()
        rank = following[0]
    return path[path.index(rank) :]


def _call(world: SimulatedWorld, rank: int) -> int:
    """The index of the call in which a rank of a cycle waits."""
    blocked = world.ranks[rank].record.blocked
    assert blocked is not None
    assert blocked.call is not None
    return blocked.call


def _group(world: SimulatedWorld, rank: int) -> Group | None:
    """The group of the call in which a rank is blocked."""
    view = world.ranks[rank]
    blocked = view.record.blocked
    if blocked is None or blocked.call is None:
        return None
    return view.groups[view.group_of_slot[view.schedule.calls[blocked.call].slot]]


def _key_findings(world: SimulatedWorld) -> Iterator[Finding]:
    waiting: defaultdict[Any, list[int]] = defaultdict(list)
    for rank in sorted(world.blocked):
        blocked = world.ranks[rank].record.blocked
        if blocked is not None and blocked.key is not None:
            waiting[blocked.key, blocked.call_site].append(rank)
    for (key, call_site), ranks in waiting.items():
        yield Finding(
            code=FindingCode.MISSING_KEY,
            message=f"{name_ranks(ranks)} wait{'s' * (len(ranks) == 1)} for the key {key!r} of a store, which no rank sets.",
            ranks=tuple(ranks),
            call_site=call_site,
            hint="Set the key on a rank that does not wait for it, or leave out the wait.",
        )
