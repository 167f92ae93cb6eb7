"""Which differences are causes, and which only follow from them.

A difference follows from another one if its calls wait for the other's, or if the same ranks have gone astray earlier in the program.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fakerun.analysis.matching.difference import Difference
from fakerun.analysis.matching.waiting import Graph
from fakerun.analysis.matching.words import who
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

_MOST = 64
"""Differences that are looked at, the earliest in the program: nobody mends more at a time."""

_SHOWN = 4
"""Labels of groups that a sentence names."""


@dataclass(slots=True, eq=False)
class _Cause:
    """A difference in the graph: where it lies, what waits for it, and what may. What has been found to follow from it.

    `number` is its place among all differences, in the order of the program.
    """

    number: int
    difference: Difference
    place: frozenset[int]
    reach: frozenset[int]
    suspect: frozenset[int]
    follow: list["_Cause"] = field(default_factory=list)

    def add(self, other: "_Cause") -> None:
        """The other follows from this one, or is the same further on."""
        self.follow.append(other)
        if _key(self.difference) == _key(other.difference) and not other.difference.named <= self.difference.named:
            self.difference = self.difference.with_ranks_of(other.difference)

    def precedes(self, other: "_Cause") -> bool:
        """Whether the other is a consequence of this one."""
        earlier = self.number < other.number
        if self.reach & other.place and (earlier or not other.reach & self.place):
            return True
        same = self.difference.odd & other.difference.odd and (self.difference.astray or self.difference.code == other.difference.code)
        return bool(same) and earlier


def cause_findings(differences: Sequence[Difference], graph: Graph) -> tuple[list[Finding], frozenset[int]]:
    """One finding for each cause, and the nodes of the graph that wait for one, or may. The graph's classes must be settled."""
    ordered = sorted(_gathered(differences), key=lambda each: each.order)
    causes = [_placed(graph, number, each) for number, each in enumerate(ordered[:_MOST])]
    parents = [next((i for i, other in enumerate(causes) if other is not cause and other.precedes(cause)), None) for cause in causes]
    roots: dict[int, None] = {}
    for number, cause in enumerate(causes):
        root = _root(number, parents)
        roots[root] = None
        if root != number:
            causes[root].add(cause)
    found = [cause.difference.finding(_more(cause, graph)) for cause in _merged([causes[root] for root in roots])]
    if len(ordered) > _MOST:
        found[-1] = replace(found[-1], message=f"{found[-1].message} {len(ordered) - _MOST} further differences have not been looked at.")
    return found, frozenset[int]().union(*(cause.suspect for cause in causes))


def _root(number: int, parents: Sequence[int | None]) -> int:
    seen = [number]
    while (parent := parents[seen[-1]]) is not None and parent not in seen:
        seen.append(parent)
    return seen[-1] if parents[seen[-1]] is None else min(seen)


def _placed(graph: Graph, number: int, difference: Difference) -> _Cause:
    if difference.blocked:
        comes = ((graph.comes[graph.classes.of[rank]], call) for rank, call in difference.blocked.items())
        nodes = frozenset(calls[call] for calls, call in comes if call < len(calls))
        reach = frozenset(graph.downstream(nodes))
        return _Cause(number, difference, nodes, reach, reach)
    place: set[int] = set()
    behind: set[int] = set()
    perhaps: set[int] = set()
    index = difference.groups[0].places[difference.rank]
    since = difference.position if difference.since is None else difference.since
    for group in difference.groups:
        rank = next(iter(group.users)) if difference.way is None else group.ranks[index]
        points = graph.points_from(graph.classes.line(rank, group, difference.way), since)
        perhaps.update(points)
        place.update(points[difference.position - since : difference.position - since + 1])
        behind.update(points[difference.position - since :])
    if not difference.astray:
        return _Cause(number, difference, frozenset(place), frozenset(), frozenset())
    return _Cause(number, difference, frozenset(place), frozenset(graph.downstream(behind)), frozenset(graph.downstream(perhaps)))


def _gathered(differences: Sequence[Difference]) -> Iterator[Difference]:
    """Those as one that lie at the same position on the same lines: the same bug in groups that differ elsewhere."""
    alike: dict[Hashable, Difference] = {}
    for each in differences:
        place = None if each.way is None else each.groups[0].places[each.rank]
        key = _key(each), each.position, each.way, place, bool(each.blocked)
        alike[key] = alike[key].with_ranks_of(each) if key in alike else each
    yield from alike.values()


def _merged(causes: Sequence[_Cause]) -> Iterator[_Cause]:
    """Those as one that are the same on the same lines, or the same failure."""
    alike: dict[Hashable, _Cause] = {}
    for cause in causes:
        key = _key(cause.difference)
        same = alike.get(key)
        alike[key] = cause if same is None else _both(same, cause)
    yield from alike.values()


def _key(difference: Difference) -> Hashable:
    if difference.failure is not None or difference.code == FindingCode.UNEVEN_STEPS:
        return difference.code, difference.failure
    return difference.code, difference.call_site, difference.usual_site


def _both(one: _Cause, other: _Cause) -> _Cause:
    return replace(
        one, difference=one.difference.with_ranks_of(other.difference), reach=one.reach | other.reach, follow=one.follow + other.follow
    )


# -- what to add -------------------------------------------------------------------------------------------------------------------------


def _more(cause: _Cause, graph: Graph) -> str:
    """In how many groups it is so, and who waits because of it."""
    groups = cause.difference.groups
    others = f" It is so in {len(groups) - 1} other group{'s' * (len(groups) > 2)}, too: {_labels(group.title for group in groups[1:])}."
    return others * (len(groups) > 1) + _waiting(cause, graph)


def _waiting(cause: _Cause, graph: Graph) -> str:
    """Who waits beside the members of the groups, or elsewhere."""
    if not cause.difference.astray:
        where = {group.title for each in cause.follow for group in each.difference.groups}
        return f" The same ranks differ in {_labels(where)}, too." if where else ""
    labels = _waiting_in(cause.reach.union(*(each.reach for each in cause.follow)), graph)
    members = _concerned(cause.difference)
    waiting = {rank for rank, number in graph.classes.of.items() if number in labels and rank not in cause.difference.odd}
    where = set(labels.values())
    if not cause.follow and waiting <= members:
        return ""
    where |= {group.title for each in cause.follow for group in each.difference.groups}
    who_waits = waiting or members - cause.difference.odd
    return f" What follows from it: {who(who_waits)} wait{'s' * (len(who_waits) == 1)} for ever, or for wrong calls, in {_labels(where)}."


def _concerned(difference: Difference) -> set[int]:
    """The ranks that the message names, or says something of by naming their group."""
    if difference.way is not None:
        return {difference.rank, *difference.named}
    return {rank for group in difference.groups for rank in group.users} | difference.blocked.keys()


def _waiting_in(reach: frozenset[int], graph: Graph) -> Mapping[int, str]:
    """By class that waits, the label of the group in which it does first."""
    found: dict[int, str] = {}
    representatives = graph.classes.representatives()
    for node in sorted(reach):
        number = graph.owner[node]
        if number is not None and number not in found:
            rank = representatives[number]
            call = next((before.call for before in graph.before[node] if before.node in reach), None)
            line = None if call is None else graph.classes.courses[rank].moves[call].line
            if line is not None:
                found[number] = graph.classes.cast.seats[rank].ports[line[0]].title
    return found


def _labels(labels: Iterator[str] | set[str]) -> str:
    distinct = sorted(set(labels))
    return f"group{'s' * (len(distinct) > 1)} {', '.join(distinct[:_SHOWN])}{', ...' * (len(distinct) > _SHOWN)}"
