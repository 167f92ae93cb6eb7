"""Process groups that ranks do not mean alike, and calls on groups that a rank is not in."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fakerun.analysis.matching.cast import Cast, Group
from fakerun.analysis.matching.new_groups import NEW_GROUP_HINT
from fakerun.analysis.matching.words import call, named, who
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

if TYPE_CHECKING:
    from fakerun.call_site import CallSite


def groups_that_differ(cast: Cast) -> tuple[list[Finding], set[Group]]:
    """Groups that go by one name and have some ranks in common, but not all: they were made in another order, or of other ranks."""
    findings = []
    apart: set[Group] = set()
    for name, groups in _by_name(cast).items():
        pair = _overlapping(groups)
        if not name or pair is None:
            continue
        one, other = pair
        apart.update(groups)
        findings.append(
            Finding(
                code=FindingCode.GROUP_MISMATCH,
                message=f"process group {name} is of {who(one.ranks)} for some ranks and of {who(other.ranks)} for others.",
                ranks=tuple(sorted({*one.ranks, *other.ranks})),
                hint=NEW_GROUP_HINT,
            )
        )
    return findings, apart


def _by_name(cast: Cast) -> Mapping[str, list[Group]]:
    by_name: dict[str, list[Group]] = defaultdict(list)
    for group in cast.groups:
        by_name[group.name].append(group)
    return by_name


def _overlapping(groups: list[Group]) -> tuple[Group, Group] | None:
    """Two of them that share a rank."""
    of_rank: dict[int, Group] = {}
    for group in groups if len(groups) > 1 else ():
        for rank in group.ranks:
            if of_rank.setdefault(rank, group) is not group:
                return of_rank[rank], group
    return None


def calls_of_non_members(cast: Cast) -> Iterator[Finding]:
    """One `non-member` for each line on which ranks communicate on a group that they are not in."""
    ranks: dict[CallSite | None, list[tuple[int, int]]] = defaultdict(list)
    for rank, seat in cast.seats.items():
        elsewhere = [slot for slot, port in enumerate(seat.port_of) if rank not in seat.ports[port].places]
        sites = {seat.trace.schedule.calls[index].call_site: index for slot in elsewhere for index in reversed(seat.trace.by_slot[slot])}
        for site, index in sites.items():
            ranks[site].append((rank, index))
    for site, calls in ranks.items():
        record = cast.record(*calls[0])
        those = [rank for rank, _ in calls]
        outside = f"{who(those)} call{'s' * (len(those) == 1)} on {named(record)} without being in it"
        yield Finding(
            code=FindingCode.NON_MEMBER,
            message=f"{outside}: {call(record)} does nothing there.",
            ranks=tuple(those),
            call_site=site,
            hint="Let only the members of the group make the call, or make the group with these ranks.",
        )
