"""All ranks against each other: every finding about communication that two or more simulated ranks give rise to."""

from collections.abc import Iterator, Sequence

from fakerun.analysis.matching.agreed import Agreed
from fakerun.analysis.matching.cast import Cast
from fakerun.analysis.matching.causes import cause_findings
from fakerun.analysis.matching.circles import cycle_findings
from fakerun.analysis.matching.classes import Classes
from fakerun.analysis.matching.collectives import collective_differences, first_parting
from fakerun.analysis.matching.difference import Difference
from fakerun.analysis.matching.inversions import Inversions
from fakerun.analysis.matching.membership import calls_of_non_members, groups_that_differ
from fakerun.analysis.matching.messages import message_differences
from fakerun.analysis.matching.new_groups import new_group_differences
from fakerun.analysis.matching.waiting import Graph
from fakerun.analysis.matching.waits import never_waited
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, RankRecord

_OF_THE_SCRIPT = frozenset({FailureKind.EXCEPTION, FailureKind.EXIT})
"""Failures that a real rank would end with, too."""


def matching_findings(ranks: Sequence[RankRecord]) -> tuple[Finding, ...]:
    """What keeps the simulated ranks from working together, and what looks like it. Nothing can be said of one rank alone.

    A rank that the simulation ended (a gap, a time limit, the user) would have gone on: it counts as not simulated.
    """
    ranks = [rank for rank in ranks if rank.failure is None or rank.failure.kind in _OF_THE_SCRIPT]
    if len(ranks) < 2:
        return ()
    cast = Cast(ranks)
    agreed = Agreed(cast)
    odd, apart = groups_that_differ(cast)
    differences = list(new_group_differences(cast))
    made_alike = not differences
    for family in cast.families():
        if apart.isdisjoint(family.groups) and sum(view is not None for view in family.pattern) > 1:
            parting = first_parting(family)
            if parting is not None:
                differences += collective_differences(cast, family, parting)
            agreed.look_at(family, parting)
            differences += message_differences(cast, family)
    by_name = odd if made_alike else ()  # groups that are not made alike go by the wrong names
    played = list(_played(cast, differences))
    astray = {group for difference in differences if difference.astray for group in difference.groups}
    waiting = {rank for finding in played if finding.code == FindingCode.DEADLOCK for rank in finding.ranks}
    inversions = Inversions(cast).findings(astray | apart, waiting)
    return (*by_name, *played, *agreed.findings(), *calls_of_non_members(cast), *inversions, *never_waited(cast))


def _played(cast: Cast, differences: Sequence[Difference]) -> Iterator[Finding]:
    """The causes among the differences, and the circles that no difference explains."""
    classes = Classes(cast)
    graph = Graph(classes)
    stuck = graph.stuck()
    if differences or stuck:
        classes.settle()
        graph = Graph(classes)
        stuck = graph.stuck()
    causes, follows = cause_findings(differences, graph)
    yield from causes
    yield from cycle_findings(graph, stuck - follows)
