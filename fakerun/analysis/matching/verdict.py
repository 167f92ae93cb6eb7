"""All ranks against each other: every finding about communication that two or more simulated ranks give rise to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fakerun.analysis.matching.collectives import collective_findings
from fakerun.analysis.matching.messages import message_findings
from fakerun.analysis.matching.progress import cycle_findings
from fakerun.analysis.matching.streams import Group, collective_streams, message_streams
from fakerun.analysis.matching.words import call, who
from fakerun.records.finding import Finding, Severity
from fakerun.records.run import FailureKind, RankRecord

if TYPE_CHECKING:
    from fakerun.records.collective import CollectiveRecord


_OF_THE_SCRIPT = frozenset({FailureKind.EXCEPTION, FailureKind.EXIT})
"""Failures that a real rank would end with, too."""


def matching_findings(ranks: Sequence[RankRecord]) -> tuple[Finding, ...]:
    """What keeps the simulated ranks from working together, and what looks like it. Nothing can be said of one rank alone.

    A rank that the simulation ended (a gap, a time limit, the user) would have gone on: it counts as not simulated.
    """
    ranks = [rank for rank in ranks if rank.failure is None or rank.failure.kind in _OF_THE_SCRIPT]
    if len(ranks) < 2:
        return ()
    streams = collective_streams(ranks)
    odd = list(_groups_that_differ(streams))
    findings = [finding for _, finding in odd]
    without = {group for groups, _ in odd for group in groups}
    ended = _ended(ranks)
    for group, members in streams.items():
        if group not in without:
            findings += collective_findings(group, members, ended)
    simulated = {rank.rank for rank in ranks}
    for channel, (sent, received) in message_streams(ranks).items():
        findings += message_findings(channel, sent, received, simulated)
    findings += cycle_findings(ranks)
    findings += _never_waited(ranks)
    return tuple(findings)


def _ended(ranks: Sequence[RankRecord]) -> Mapping[int, str]:
    """What became of the ranks that stopped before others did."""
    most = max(rank.steps for rank in ranks)
    ended = {rank.rank: f"ended after {rank.steps} of {most} steps" for rank in ranks if rank.steps < most}
    return ended | {rank.rank: "failed" for rank in ranks if rank.failure is not None}


def _groups_that_differ(streams: Mapping[Group, object]) -> Iterator[tuple[set[Group], Finding]]:
    """Groups that go by one name and have some ranks in common, but not all: they were made in another order, or of other ranks."""
    by_name: dict[str, list[Group]] = defaultdict(list)
    for group in streams:
        by_name[group.name].append(group)
    for name, groups in by_name.items():
        first, *others = groups
        for other in others:
            if name and set(first.ranks) & set(other.ranks):
                message = f"process group {name} is of {who(first.ranks)} for some ranks and of {who(other.ranks)} for others."
                yield (
                    {first, other},
                    Finding(
                        code="group-mismatch",
                        severity=Severity.ERROR,
                        message=message,
                        ranks=tuple(sorted({*first.ranks, *other.ranks})),
                        hint="Call new_group on every rank for every group, those of others too, in one order and with the same ranks.",
                    ),
                )


def _never_waited(ranks: Sequence[RankRecord]) -> Iterator[Finding]:
    """One `never-waited` for each line whose results may be used before they are there.

    A line of which some calls were waited for is fine: the last one's turn may come after the end of the simulation.
    """
    by_site: dict[str | None, list[int]] = defaultdict(list)
    example: dict[str | None, CollectiveRecord] = {}
    for rank in ranks:
        waited = {record.call_site for record in rank.collectives if record.is_async and record.waited}
        for record in rank.collectives:
            if not record.waited and rank.failure is None and record.call_site not in waited:
                by_site[record.call_site].append(rank.rank)
                example.setdefault(record.call_site, record)
    for site, numbers in by_site.items():
        yield Finding(
            code="never-waited",
            severity=Severity.WARNING,
            message=f"nothing waits for {call(example[site])}: its result may be used before it is there.",
            ranks=tuple(sorted(set(numbers))),
            call_site=site,
            hint="Call wait() on the handle before the result is used.",
        )
