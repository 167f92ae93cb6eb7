"""Classes of ranks that fare alike, for playing a run through without playing every rank.

Ranks of one course are a class to begin with. Mapping ranks to classes, and meetings to the classes' meetings, keeps who waits for whom:
if no class waits in a circle, no rank does. The reverse holds once classes are settled: when all ranks of a class meet the same
classes, on the same ports, in each of their groups and messages, what becomes of a class becomes of each of its ranks.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from fakerun.analysis.dependency.issue_order import Course, Courses, Line
from fakerun.analysis.dependency.simulated_world import Cast, Group
from fakerun.analysis.matching.compare.interning import Numbers, Way

_ROUNDS = 64
"""How far apart, in groups and messages, ranks may be that make a difference to each other. Pipelines have fewer stages."""

_Item = TypeVar("_Item", bound=Hashable)


class Classes:
    """The classes of the ranks of a run, as coarse as can be at first."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        courses = Courses()
        self.courses: Mapping[int, Course] = {rank: courses.of(seat) for rank, seat in cast.seats.items()}
        numbers: dict[Course, int] = {}
        self.of: dict[int, int] = {rank: numbers.setdefault(course, len(numbers)) for rank, course in self.courses.items()}
        self._peers = {rank: tuple(self._peer(rank, port, way) for port, way in course.ways) for rank, course in self.courses.items()}

    def representatives(self) -> Mapping[int, int]:
        """By class its first rank."""
        first: dict[int, int] = {}
        for rank, number in self.of.items():
            first.setdefault(number, rank)
        return first

    def refine(self) -> bool:
        """Part the ranks of a class that meet different classes, or the same on other ports; whether any were."""
        before = len(set(self.of.values()))
        meets = Numbers()
        of_groups = {group: meets[frozenset((self.of[rank], self.port(rank, group)) for rank in group.users)] for group in self.cast.groups}
        numbers = Numbers()
        self.of = {
            rank: numbers[
                number,
                tuple(of_groups[port] for port in self.cast.seats[rank].ports),
                tuple(
                    None if peer is None else (self.of[peer], self.port(peer, self.cast.seats[rank].ports[port]))
                    for (port, _), peer in zip(self.courses[rank].ways, self._peers[rank], strict=True)
                ),
            ]
            for rank, number in self.of.items()
        }
        return len(numbers) > before

    def settle(self) -> None:
        """Refine until no class parts any more, or for long enough: a chain of thousands of ranks would take as many rounds."""
        for _ in range(_ROUNDS):
            if not self.refine():
                return

    def meetings(self) -> "Unions[tuple[int, Line]]":
        """Which lines of classes are one."""
        meetings: Unions[tuple[int, Line]] = Unions()
        for group in self.cast.groups:
            lines = {(self.of[rank], (self.port(rank, group), None)) for rank in group.users}
            first, *others = lines or {(0, (0, None))}
            for other in others:
                meetings.unite(first, other)
        seen: set[Hashable] = set()
        for rank, course in self.courses.items():
            for (port, way), peer in zip(course.ways, self._peers[rank], strict=True):
                if peer is None:
                    continue
                group = self.cast.seats[rank].ports[port]
                ours = self.of[rank], (port, way)
                theirs = self.of[peer], (self.port(peer, group), way.back(len(group.ranks)))
                if (ours, theirs) not in seen:
                    seen.add((ours, theirs))
                    meetings.unite(ours, theirs)
        return meetings

    def line(self, rank: int, group: Group, way: Way | None) -> tuple[int, Line]:
        """The line of the rank's class on which it meets others in that group."""
        return self.of[rank], (self.port(rank, group), way)

    def peer(self, rank: int, port: int, way: Way) -> int | None:
        """Who is at the other end of that way, if simulated."""
        return self._peer(rank, port, way)

    def _peer(self, rank: int, port: int, way: Way) -> int | None:
        group = self.cast.seats[rank].ports[port]
        peer = group.ranks[(group.places[rank] + way.distance) % len(group.ranks)]
        return peer if peer in group.users else None

    def port(self, rank: int, group: Group) -> int:
        """Which of its ports the group is to the rank; -1 if it does not use it."""
        slots = group.users.get(rank)
        return self.cast.seats[rank].port_of[slots[0]] if slots else -1


class Unions(Generic[_Item]):
    """Things united with others (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[_Item, _Item] = {}

    def of(self, item: _Item) -> _Item:
        """The one that stands for all that the item is united with."""
        parents = self._parents
        root = item
        while (parent := parents.get(root, root)) != root:
            root = parent
        while (parent := parents.get(item, item)) != root:
            parents[item], item = root, parent
        return root

    def unite(self, one: _Item, other: _Item) -> None:
        a, b = self.of(one), self.of(other)
        if a != b:
            self._parents[b] = a
