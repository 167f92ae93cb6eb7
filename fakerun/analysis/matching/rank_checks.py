"""Calls that are wrong whatever the other ranks do: on a group that the rank is not in, or never waited for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TypeAlias

from fakerun.analysis.dependency import RankView, SimulatedWorld, UniqueSchedule
from fakerun.analysis.matching.description import describe_call, describe_group
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import name_ranks

Site: TypeAlias = CallSite | None


def non_member_findings(world: SimulatedWorld) -> Iterator[Finding]:
    """One `non-member` for each call site at which ranks communicate on a group that they are not in."""
    callers: dict[Site, list[tuple[int, int]]] = defaultdict(list)
    for rank, view in world.ranks.items():
        for site, index in _outside_calls(view).items():
            callers[site].append((rank, index))
    for site, calls in callers.items():
        record = world.record(*calls[0])
        ranks = tuple(rank for rank, _ in calls)
        s, subject = ("s", "a member") if len(ranks) == 1 else ("", "members")
        yield Finding(
            code=FindingCode.NON_MEMBER,
            message=f"{name_ranks(ranks)} call{s} {describe_call(record)} on {describe_group(record)} without being {subject}: "
            "the call does nothing there.",
            ranks=ranks,
            call_site=site,
            hint="Make the call only on members of the group, or create the group with these ranks.",
        )


def unwaited_findings(world: SimulatedWorld) -> Iterator[Finding]:
    """One `never-waited` for each call site whose results may be used before they are complete.

    A call site is fine if some of its calls were waited for: the wait for the last one may come after the end of the simulation.
    """
    callers: dict[Site, list[tuple[int, int]]] = defaultdict(list)
    unwaited = cache(_unwaited)
    for rank, view in world.ranks.items():
        if view.record.failure is None and view.record.blocked is None:
            for site, index in unwaited(view.schedule).items():
                callers[site].append((rank, index))
    for site, calls in callers.items():
        yield Finding(
            code=FindingCode.NEVER_WAITED,
            message=f"nothing waits for {describe_call(world.record(*calls[0]))}: its result may be used before it is complete.",
            ranks=tuple(rank for rank, _ in calls),
            call_site=site,
            hint="Call wait() on the handle before using the result.",
        )


def _outside_calls(view: RankView) -> Mapping[Site, int]:
    """The call sites of calls on groups that the rank is not in, with the first call of each."""
    outside = [slot for slot, index in enumerate(view.group_of_slot) if view.rank not in view.groups[index].group_rank_of]
    return {view.schedule.calls[index].call_site: index for slot in outside for index in reversed(view.schedule.indices[slot])}


def _unwaited(schedule: UniqueSchedule) -> Mapping[Site, int]:
    """The call sites that nothing waits for, with the first call of each."""
    waited = {call.call_site for call in schedule.calls if call.is_async and call.waited}
    sites: dict[Site, int] = {}
    for index, call in enumerate(schedule.calls):
        if not call.waited and call.call_site not in waited:
            sites.setdefault(call.call_site, index)
    return sites
