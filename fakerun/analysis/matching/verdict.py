"""The findings about communication that need two or more simulated ranks; the docstring of the package lists the steps."""

from collections.abc import Iterator, Sequence

from fakerun.analysis.dependency import Group, RankPartition, SimulatedWorld, WaitForGraph
from fakerun.analysis.matching.compare.call_checks import CallChecks
from fakerun.analysis.matching.compare.call_sites import CallSiteChecks
from fakerun.analysis.matching.compare.collectives import collective_mismatches, first_group_divergence
from fakerun.analysis.matching.compare.group_classes import group_classes
from fakerun.analysis.matching.compare.group_creation import creation_mismatches
from fakerun.analysis.matching.compare.group_membership import membership_findings
from fakerun.analysis.matching.compare.interning import InternedCalls
from fakerun.analysis.matching.compare.mismatch import Mismatch
from fakerun.analysis.matching.compare.p2p import p2p_mismatches
from fakerun.analysis.matching.deadlock.blocked_ranks import blocked_findings
from fakerun.analysis.matching.deadlock.cycles import deadlock_findings
from fakerun.analysis.matching.deadlock.order_inversion import OrderInversions
from fakerun.analysis.matching.rank_checks import non_member_findings, unwaited_findings
from fakerun.analysis.matching.root_cause import root_cause_findings
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, RankRecord

_OF_THE_SCRIPT = frozenset({FailureKind.EXCEPTION, FailureKind.EXIT})
"""Failures that would also end a real rank."""


def matching_findings(ranks: Sequence[RankRecord]) -> tuple[Finding, ...]:
    """What keeps the simulated ranks from working together. One rank alone gives no findings.

    A rank that the simulation ended (a gap, a time limit, the user) would have gone on: it counts as not simulated.
    """
    ranks = [rank for rank in ranks if rank.failure is None or rank.failure.kind in _OF_THE_SCRIPT]
    if len(ranks) < 2:
        return ()
    world = SimulatedWorld(ranks)
    interned = InternedCalls(world)
    membership, unequal = membership_findings(world)
    creation = list(creation_mismatches(world))
    compared, checked = _compared(world, interned, unequal)
    mismatches = [*creation, *compared]
    causes, deadlocks = _causes_and_deadlocks(world, mismatches)
    mismatched = unequal.union(*(mismatch.groups for mismatch in mismatches))
    blocked = [] if creation or deadlocks else list(blocked_findings(world, mismatched))
    desynchronised = unequal.union(*(mismatch.groups for mismatch in mismatches if mismatch.desynchronising))
    deadlocked = {rank for finding in deadlocks for rank in finding.ranks}
    inversions = OrderInversions(world, interned).findings(desynchronised, deadlocked)
    return (
        *(membership if not creation else ()),  # after a creation mismatch, groups have wrong names
        *causes,
        *deadlocks,
        *blocked,
        *checked,
        *non_member_findings(world),
        *inversions,
        *unwaited_findings(world),
    )


def _compared(world: SimulatedWorld, interned: InternedCalls, unequal: set[Group]) -> tuple[list[Mismatch], Iterator[Finding]]:
    """The mismatches of each class of groups, and what is wrong before them."""
    mismatches: list[Mismatch] = []
    call_checks, call_sites = CallChecks(world), CallSiteChecks(world)
    for group_class in group_classes(world, interned):
        if group_class.simulated < 2 or not unequal.isdisjoint(group_class.groups):
            continue
        divergence = first_group_divergence(group_class)
        found = list(collective_mismatches(world, group_class, divergence)) if divergence is not None else []
        matched = min(*(len(calls.collectives.calls) for _, calls in group_class.members()), *(each.position for each in found))
        call_checks.check(group_class, matched)
        call_sites.check(group_class, matched)
        mismatches += [*found, *p2p_mismatches(world, group_class)]
    return mismatches, (finding for checks in (call_checks, call_sites) for finding in checks.findings())


def _causes_and_deadlocks(world: SimulatedWorld, mismatches: Sequence[Mismatch]) -> tuple[list[Finding], list[Finding]]:
    """The root causes among the mismatches, and the deadlocks that no mismatch explains."""
    partition = RankPartition(world)
    graph = WaitForGraph(partition)
    blocked = graph.blocked()
    if mismatches or blocked:
        partition.refine_until_stable()
        graph = WaitForGraph(partition)
        blocked = graph.blocked()
    causes, explained = root_cause_findings(mismatches, graph)
    return causes, list(deadlock_findings(graph, blocked - explained))
