"""Which mismatches are causes, and which are only consequences of another one.

A mismatch is a consequence of another one if its calls wait for the calls of the other, or if the same ranks are desynchronised earlier in
the program.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fakerun.analysis.dependency import Group, WaitForGraph
from fakerun.analysis.matching.compare.mismatch import Mismatch
from fakerun.analysis.matching.description import describe_groups, describe_label, list_labels
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import name_ranks

_MAX_ANALYSED = 64
"""Mismatches that are analysed, the earliest in the program: nobody fixes more at a time."""


@dataclass(slots=True, eq=False)
class _Candidate:
    """A mismatch in the graph: `nodes` are the calls at which it lies, `affected` all that wait for them, `suspect` all that may wait for
    them. `number` is its place among all mismatches in the order of the program; `consequences` are the mismatches that follow from it.
    """

    number: int
    mismatch: Mismatch
    nodes: frozenset[int]
    affected: frozenset[int]
    suspect: frozenset[int]
    consequences: list["_Candidate"] = field(default_factory=list)

    def add(self, other: "_Candidate") -> None:
        """The other is a consequence of this one, or the same mismatch later in the program."""
        self.consequences.append(other)
        if _key(self.mismatch) == _key(other.mismatch) and not other.mismatch.ranks <= self.mismatch.ranks:
            self.mismatch = self.mismatch.merged_with(other.mismatch)

    def explains(self, other: "_Candidate") -> bool:
        """Whether the other is a consequence of this one."""
        is_earlier = self.number < other.number
        if self.affected & other.nodes and (is_earlier or not other.affected & self.nodes):
            return True
        same_ranks = self.mismatch.outliers & other.mismatch.outliers
        return bool(same_ranks) and is_earlier and (self.mismatch.desynchronising or self.mismatch.code == other.mismatch.code)


def root_cause_findings(mismatches: Sequence[Mismatch], graph: WaitForGraph) -> tuple[list[Finding], frozenset[int]]:
    """One finding for each root cause, and the nodes of the graph that wait for one, or may. The partition must be stable."""
    ordered = sorted(_merged_by_position(mismatches), key=lambda mismatch: mismatch.program_index)
    candidates = [_candidate(graph, number, mismatch) for number, mismatch in enumerate(ordered[:_MAX_ANALYSED])]
    causes = [next((i for i, other in enumerate(candidates) if other is not each and other.explains(each)), None) for each in candidates]
    roots: dict[int, None] = {}
    for number, candidate in enumerate(candidates):
        root = _root(number, causes)
        roots[root] = None
        if root != number:
            candidates[root].add(candidate)
    found = [cause.mismatch.finding(_addition(cause, graph)) for cause in _merged_by_key([candidates[root] for root in roots])]
    if (more := len(ordered) - _MAX_ANALYSED) > 0:
        sentence = f"{more} further mismatches were not analysed." if more > 1 else "1 further mismatch was not analysed."
        found[-1] = replace(found[-1], message=f"{found[-1].message} {sentence}")
    return found, frozenset[int]().union(*(candidate.suspect for candidate in candidates))


def _root(number: int, causes: Sequence[int | None]) -> int:
    """The end of the chain of causes; where they explain each other, the first of them in the program."""
    seen = [number]
    while (cause := causes[seen[-1]]) is not None and cause not in seen:
        seen.append(cause)
    return seen[-1] if causes[seen[-1]] is None else min(seen)


def _candidate(graph: WaitForGraph, number: int, mismatch: Mismatch) -> _Candidate:
    if mismatch.blocked:
        arrivals = ((graph.arrivals[graph.partition.class_of[rank]], call) for rank, call in mismatch.blocked.items())
        blocked = frozenset(nodes[call] for nodes, call in arrivals if call < len(nodes))
        affected = frozenset(graph.with_dependents(blocked))
        return _Candidate(number, mismatch, blocked, affected, affected)
    at: set[int] = set()
    at_or_after: set[int] = set()
    possible: set[int] = set()
    group_rank = mismatch.groups[0].group_rank_of[mismatch.rank]
    earliest = mismatch.position if mismatch.earliest_position is None else mismatch.earliest_position
    for group in mismatch.groups:
        rank = next(iter(group.slots)) if mismatch.direction is None else group.ranks[group_rank]
        completions = graph.completions_from(graph.partition.class_queue(rank, group, mismatch.direction), earliest)
        possible.update(completions)
        at.update(completions[mismatch.position - earliest : mismatch.position - earliest + 1])
        at_or_after.update(completions[mismatch.position - earliest :])
    if not mismatch.desynchronising:
        return _Candidate(number, mismatch, frozenset(at), frozenset(), frozenset())
    affected, suspect = (frozenset(graph.with_dependents(nodes)) for nodes in (at_or_after, possible))
    return _Candidate(number, mismatch, frozenset(at), affected, suspect)


def _merged_by_position(mismatches: Sequence[Mismatch]) -> Iterator[Mismatch]:
    """Mismatches at the same position and lines as one: the same bug in groups that differ elsewhere."""
    merged: dict[Hashable, Mismatch] = {}
    for each in mismatches:
        group_rank = None if each.direction is None else each.groups[0].group_rank_of[each.rank]
        key = _key(each), each.position, each.direction, group_rank, bool(each.blocked)
        merged[key] = merged[key].merged_with(each) if key in merged else each
    yield from merged.values()


def _merged_by_key(causes: Sequence[_Candidate]) -> Iterator[_Candidate]:
    """Causes that are the same on the same lines, or the same failure, as one."""
    merged: dict[Hashable, _Candidate] = {}
    for cause in causes:
        key = _key(cause.mismatch)
        known = merged.get(key)
        merged[key] = cause if known is None else _both(known, cause)
    yield from merged.values()


def _key(mismatch: Mismatch) -> Hashable:
    if mismatch.failure is not None or mismatch.code == FindingCode.UNEVEN_STEPS:
        return mismatch.code, mismatch.failure
    return mismatch.code, mismatch.call_site, mismatch.majority_site


def _both(one: _Candidate, other: _Candidate) -> _Candidate:
    return replace(
        one,
        mismatch=one.mismatch.merged_with(other.mismatch),
        affected=one.affected | other.affected,
        consequences=one.consequences + other.consequences,
    )


# -- what a finding adds -----------------------------------------------------------------------------------------------------------------


def _addition(cause: _Candidate, graph: WaitForGraph) -> str:
    """In how many other groups the mismatch occurs, and who hangs because of it."""
    groups = cause.mismatch.groups
    others = len(groups) - 1
    labels = [_label(group) for group in groups]
    named = f" ({list_labels(labels[1:])})" if len(set(labels)) > 1 else ""
    occurs = f" The same mismatch occurs in {others} other group{'s' * (others > 1)}{named}." if others > 0 else ""
    return occurs + _consequences(cause, graph)


def _consequences(cause: _Candidate, graph: WaitForGraph) -> str:
    """Who hangs beside the members of the groups, or in other groups."""
    consequent = {_label(group) for each in cause.consequences for group in each.mismatch.groups}
    if not cause.mismatch.desynchronising:
        return f" The same ranks also disagree in {describe_groups(consequent)}." if consequent else ""
    hanging_in = _hanging_in(cause.affected.union(*(each.affected for each in cause.consequences)), graph)
    members = _described_ranks(cause.mismatch)
    hanging = {rank for rank, number in graph.partition.class_of.items() if number in hanging_in and rank not in cause.mismatch.outliers}
    if not cause.consequences and hanging <= members:
        return ""
    hanging = hanging or members - cause.mismatch.outliers
    return f" As a result {name_ranks(hanging)} hang{'s' * (len(hanging) == 1)} in {describe_groups({*hanging_in.values(), *consequent})}."


def _described_ranks(mismatch: Mismatch) -> set[int]:
    """The ranks that the message names, or describes by naming their group."""
    if mismatch.direction is not None:
        return {mismatch.rank, *mismatch.ranks}
    return {rank for group in mismatch.groups for rank in group.slots} | mismatch.blocked.keys()


def _hanging_in(affected: frozenset[int], graph: WaitForGraph) -> Mapping[int, str]:
    """By class that hangs, the label of the group in which it does first."""
    found: dict[int, str] = {}
    first_ranks = graph.partition.first_ranks()
    for node in sorted(affected):
        number = graph.owner[node]
        if number is None or number in found:
            continue
        rank = first_ranks[number]
        call = next((dependency.call for dependency in graph.dependencies[node] if dependency.node in affected), None)
        queue = None if call is None else graph.partition.issue_orders[rank].calls[call].queue
        if queue is not None:
            found[number] = _label(graph.partition.world.ranks[rank].groups[queue[0]])
    return found


def _label(group: Group) -> str:
    return describe_label(group.label, group.ranks)
