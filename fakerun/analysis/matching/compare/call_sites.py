"""Collectives on which the members of a group agree, but which they call from different lines."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching.compare.group_classes import GroupClass
from fakerun.analysis.matching.compare.interning import GroupCalls
from fakerun.analysis.matching.description import describe_position, other_sites
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import join_words, name_ranks

_HINT = "The calls match now, but a change to only one of the branches makes the job hang."

Sites = frozenset[CallSite | None]


class CallSiteChecks:
    """Collects the findings of one class of groups after the other: one for each set of lines."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._findings: dict[Sites, Finding] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._findings.values()

    def check(self, group_class: GroupClass, end: int) -> None:
        """Check the collectives of a group before position `end`, up to which the members agree."""
        ranks: dict[GroupCalls, list[int]] = defaultdict(list)
        for rank, calls in group_class.members():
            ranks[calls].append(rank)
        if len({calls.collectives.call_sites_number for calls in ranks}) < 2:
            return
        reported: set[Sites] = set()
        for position in range(end):
            sites = frozenset(_site(calls, position) for calls in ranks)
            if len(sites) > 1 and sites not in reported:
                reported.add(sites)
                self._add(group_class, ranks, sites, position)

    def _add(self, group_class: GroupClass, ranks: dict[GroupCalls, list[int]], sites: Sites, position: int) -> None:
        by_site: dict[CallSite | None, list[int]] = defaultdict(list)
        for calls, callers in ranks.items():
            by_site[_site(calls, position)].extend(callers)
        ordered = sorted(by_site.items(), key=lambda item: (-len(item[1]), item[1][0]))
        (_, majority), (outlier_site, outliers) = ordered[0], ordered[1]
        majority_calls = next(calls for calls, callers in ranks.items() if callers[0] == majority[0])
        record = self._world.record(majority[0], majority_calls.collectives.indices[position])
        lines = join_words([f"by {name_ranks(callers)} at {site}" for site, callers in ordered])
        known = self._findings.get(sites)
        everywhere = group_class.ranks_of([group_class.group.group_rank_of[rank] for rank in outliers])
        finding = Finding(
            code=FindingCode.CALL_SITE_MISMATCH,
            message=f"{describe_position(record, position)} is called from different lines: {lines}.",
            ranks=tuple(sorted(everywhere)),
            call_site=outlier_site,
            hint=_HINT,
            other_call_sites=other_sites(outlier_site, (site for site, _ in ordered)),
        )
        self._findings[sites] = finding if known is None else replace(known, ranks=tuple(sorted({*known.ranks, *everywhere})))


def _site(calls: GroupCalls, position: int) -> CallSite | None:
    return calls.schedule.calls[calls.collectives.indices[position]].call_site
