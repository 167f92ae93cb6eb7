"""What waits for what: the calls of classes of ranks as a graph, played through by taking away what has nothing left to wait for.

Nodes: a rank has come to a call; the call may start; a meeting (the nth call on a line) has happened; batches have ended. What is
never taken away waits for itself in a circle, or for something that does. Members that are not simulated are taken to be there in
time. A message that nobody receives never ends, but makes no circle.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from fakerun.analysis.dependency.issue_order import Course, Line
from fakerun.analysis.dependency.rank_partition import Classes, Unions


@dataclass(frozen=True, slots=True)
class Before:
    """Something that a node waits for. `call` is the call concerned, of the class at that edge; -1 where batches end."""

    node: int
    call: int


class Graph:
    """The graph of some classes. `comes[c][k]` is the node of class c having come to call k, `meets[c][k]` the meeting of that call."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self._meetings = classes.meetings()
        self.before: list[list[Before]] = []
        self.after: list[list[int]] = []
        self.owner: list[int | None] = []
        """By node the class, None for a meeting."""
        self._points: dict[tuple[tuple[int, Line], int], int] = {}
        self.meets: dict[int, list[int]] = {}
        self.comes: dict[int, list[int]] = {}
        """By class and call, the node of having come to it; the last is the end."""
        self.batch_at: dict[int, int] = {}
        """By the end of a batch its first call."""
        self._batches: list[tuple[int, list[int]]] = []
        """By batch the node of its end, and its meetings."""
        for number, rank in classes.representatives().items():
            self._add(number, classes.courses[rank])
        self._join_batches()

    def points_from(self, line: tuple[int, Line], position: int) -> list[int]:
        """The meeting at that position of a line of a class, and all later ones."""
        meeting = self._meetings.of(line)
        points = []
        while (point := self._points.get((meeting, position))) is not None:
            points.append(point)
            position += 1
        return points

    def stuck(self) -> set[int]:
        """What never happens because it waits in a circle, or for what does."""
        waits = [len(before) for before in self.before]
        ready = [node for node, count in enumerate(waits) if not count]
        happened = bytearray(len(waits))
        while ready:
            node = ready.pop()
            happened[node] = 1
            for after in self.after[node]:
                waits[after] -= 1
                if not waits[after]:
                    ready.append(after)
        return {node for node, has in enumerate(happened) if not has}

    def downstream(self, nodes: Iterable[int]) -> set[int]:
        """The nodes and all that waits for them."""
        found = set(nodes)
        ahead = list(found)
        while ahead:
            for after in self.after[ahead.pop()]:
                if after not in found:
                    found.add(after)
                    ahead.append(after)
        return found

    # -- building ------------------------------------------------------------------------------------------------------------------------

    def _node(self, owner: int | None) -> int:
        self.before.append([])
        self.after.append([])
        self.owner.append(owner)
        return len(self.owner) - 1

    def _edge(self, before: int, after: int, call: int) -> None:
        self.before[after].append(Before(before, call))
        self.after[before].append(after)

    def _add(self, number: int, course: Course) -> None:
        self.meets[number] = [-1] * len(course.moves)
        self.comes[number] = []
        lane = _Lane()
        for index, move in enumerate(course.moves):
            here = self._come(number, index, lane)
            starting = course.batches.get(move.batch, (index,))
            if index == starting[-1]:
                self._start(number, course, starting, here, lane)
        self._come(number, len(course.moves), lane)

    def _come(self, number: int, index: int, lane: "_Lane") -> int:
        """The node of having come to a call, or to the end."""
        here = self._node(number)
        comes = self.comes[number]
        if comes:
            self._edge(comes[-1], here, index)
        comes.append(here)
        for end in lane.waits.pop(index, ()):
            self._edge(end.node, here, end.call)
        return here

    def _start(self, number: int, course: Course, calls: Sequence[int], here: int, lane: "_Lane") -> None:
        """Calls that start together, after what their communicators did before."""
        moves = [course.moves[call] for call in calls]
        communicators = {move.communicator: None for move in moves if move.communicator is not None}
        start = self._node(number)
        self._edge(here, start, calls[-1])
        for communicator in communicators:
            if communicator in lane.ends:
                self._edge(lane.ends[communicator].node, start, lane.ends[communicator].call)
        met = [Before(self._meet(number, start, move.line, call, lane), call) for call, move in zip(calls, moves, strict=True) if move.line]
        if not met:
            return
        end = met[0] if moves[0].batch is None else self._end(number, met)
        lane.ends.update(dict.fromkeys(communicators, end))
        for move in moves:
            if move.waited_at is not None:
                lane.waits[max(move.waited_at, calls[-1] + 1)].append(end)

    def _meet(self, number: int, start: int, line: Line, call: int, lane: "_Lane") -> int:
        key = self._meetings.of((number, line)), lane.made[line]
        lane.made[line] += 1
        point = self._points.get(key)
        if point is None:
            point = self._points[key] = self._node(None)
        self._edge(start, point, call)
        self.meets[number][call] = point
        return point

    def _end(self, number: int, met: list[Before]) -> Before:
        end = self._node(number)
        self._batches.append((end, [each.node for each in met]))
        self.batch_at[end] = met[0].call
        return Before(end, met[0].call)

    def _join_batches(self) -> None:
        """What is issued as one ends as one, on both sides: batches that share a meeting, or are linked by others that do, end together.

        pytorch/PiPPy #969: stage 0 sends to 1 and 2 in one batch, 2 receives from both in one; 1 can send only after it has received.
        """
        joint: Unions[int] = Unions()
        for _, met in self._batches:
            for other in met[1:]:
                joint.unite(met[0], other)
        ends: dict[int, int] = {}
        for end, met in self._batches:
            root = joint.of(met[0])
            if root not in ends:
                ends[root] = self._node(None)
            self._edge(ends[root], end, -1)
        for point in {point for _, met in self._batches for point in met}:
            self._edge(point, ends[joint.of(point)], -1)


@dataclass(slots=True)
class _Lane:
    """How far a class is laid out: the last end on each communicator, what is waited for before which call, the calls made on each line."""

    ends: dict[Hashable, Before] = field(default_factory=dict)
    waits: dict[int, list[Before]] = field(default_factory=lambda: defaultdict(list))
    made: dict[Line, int] = field(default_factory=lambda: defaultdict(int))
