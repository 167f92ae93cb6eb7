"""Ranks that wait for each other in a circle: found among classes, told of ranks."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from fakerun.analysis.matching.classes import Classes
from fakerun.analysis.matching.signature import MESSAGES
from fakerun.analysis.matching.waiting import Before, Graph
from fakerun.analysis.matching.words import call
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

State: TypeAlias = tuple[int, int]
"""A rank, and the node of its class that cannot be taken away."""

_SHOWN = 8
"""Calls of a circle that a message names."""


def cycle_findings(graph: Graph, stuck: set[int]) -> Iterator[Finding]:
    """One `deadlock` for each circle among nodes that are `stuck` for no other reason; circles that are alike are told as one.

    Each rank of a class is stuck where its class is once classes are settled; each circle is one of ranks that meet, in any case.
    """
    walk = _Walk(graph, stuck)
    alike: dict[frozenset[tuple[int, int]], list[list[tuple[int, int]]]] = {}
    told: set[int] = set()
    for circle in walk.circles():
        ranks = {rank for rank, _ in circle}
        if not told & ranks:
            told |= ranks
            alike.setdefault(frozenset((graph.classes.of[rank], index) for rank, index in circle), []).append(circle)
    for circles in alike.values():
        yield _finding(graph.classes, circles)


class _Walk:
    """From each rank back to the one that it waits for, until a rank comes again."""

    def __init__(self, graph: Graph, stuck: set[int]) -> None:
        self._graph = graph
        self._stuck = stuck
        self._classes = graph.classes

    def circles(self) -> Iterator[list[tuple[int, int]]]:
        """Each circle once: by rank, the call in which it waits."""
        first = self._first_stuck()
        seen: set[State] = set()
        for rank in sorted(self._classes.of):
            node = first.get(self._classes.of[rank])
            state = None if node is None else (rank, node)
            path: dict[State, list[tuple[int, int]]] = {}
            while state is not None and state not in seen:
                seen.add(state)
                step = self._step(*state)
                if step is None:
                    break
                path[state], state = step
            if state in path:
                states = list(path)
                yield [call for each in states[states.index(state) :] for call in path[each]]

    def _first_stuck(self) -> Mapping[int, int]:
        first: dict[int, int] = {}
        for node in sorted(self._stuck):
            owner = self._graph.owner[node]
            if owner is not None:
                first.setdefault(owner, node)
        return first

    def _step(self, rank: int, node: int) -> tuple[list[tuple[int, int]], State] | None:
        """The call in which the rank waits, and what it waits for: another rank that cannot start its part.

        A call in a batch may also wait for what another one does in a batch with a call that they share: then that call comes along.
        """
        index = self._waits_in(node)
        if index is None:
            return None
        ahead = deque([[(rank, index)]])
        seen = {(rank, self._together(rank, index)[0])}
        while ahead:
            path = ahead.popleft()
            here, _ = path[-1]
            for each in self._together(*path[-1]):
                state = self._unstarted(here, each)
                if state is not None:
                    return [*path[:-1], (here, each)], state
                for other, theirs in self._sides(here, each):
                    if (key := (other, self._together(other, theirs)[0])) not in seen:
                        seen.add(key)
                        ahead.append([*path[:-1], (here, each), (other, theirs)])
        return None

    def _waits_in(self, node: int) -> int | None:
        """The call that a rank waits for at that node, or before."""
        while True:
            before = next((each for each in self._graph.before[node] if each.node in self._stuck), None)
            if before is None:
                return None
            if self._graph.owner[before.node] is None:
                return before.call if before.call >= 0 else self._graph.batch_at[node]
            node = before.node

    def _together(self, rank: int, index: int) -> Sequence[int]:
        """The calls that end with that call."""
        course = self._classes.courses[rank]
        return course.batches.get(course.moves[index].batch, (index,))

    def _unstarted(self, rank: int, index: int) -> State | None:
        """Who cannot start its part of that call."""
        for start in self._graph.before[self._graph.meets[self._classes.of[rank]][index]]:
            owner = self._graph.owner[start.node]
            if start.node in self._stuck and owner is not None and (other := self._met(rank, index, start)) is not None:
                return other, start.node
        return None

    def _sides(self, rank: int, index: int) -> Iterator[tuple[int, int]]:
        """Who receives what the call sends, or sends what it receives: the rank and its call, if that is in a batch."""
        port, way = self._classes.courses[rank].moves[index].line or (0, None)
        other = None if way is None else self._classes.peer(rank, port, way)
        if way is None or other is None:
            return
        point = self._graph.meets[self._classes.of[rank]][index]
        moves = self._classes.courses[other].moves
        for theirs, met in enumerate(self._graph.meets[self._classes.of[other]]):
            line = moves[theirs].line
            if met == point and line is not None and line[1] is not None and line[1].sends != way.sends and moves[theirs].batch is not None:
                yield other, theirs

    def _met(self, rank: int, index: int, start: Before) -> int | None:
        """A rank of the class whose start that is, which the rank meets there: classes that are not settled may meet elsewhere."""
        line = self._classes.courses[rank].moves[index].line
        assert line is not None
        port, way = line
        group = self._classes.cast.seats[rank].ports[port]
        others = group.users if way is None else [self._classes.peer(rank, port, way)]
        for other in others:
            if other is not None and other != rank and self._classes.of[other] == self._graph.owner[start.node]:
                theirs = self._classes.courses[other]
                their_line = theirs.moves[start.call].line
                same = their_line == (self._classes.port(other, group), None if way is None else way.back(len(group.ranks)))
                if same and theirs.nth[start.call] == self._classes.courses[rank].nth[index]:
                    return other
        return None


def _finding(classes: Classes, circles: Sequence[Sequence[tuple[int, int]]]) -> Finding:
    circle = sorted(circles[0])
    calls = [classes.cast.record(rank, index) for rank, index in circle]
    waits = [f"rank {rank} in {call(record)}" for (rank, _), record in zip(circle, calls, strict=True)]
    if len(waits) > _SHOWN:
        waits = [*waits[:_SHOWN], f"and {len(waits) - _SHOWN} more"]
    more = f" So do {len(circles) - 1} other circle{'s' * (len(circles) > 2)} of ranks." if len(circles) > 1 else ""
    return Finding(
        code=FindingCode.DEADLOCK,
        message=f"ranks wait for each other in a circle: {'; '.join(waits)}.{more}",
        ranks=tuple(sorted(rank for each in circles for rank, _ in each)),
        call_site=calls[0].call_site,
        hint=_hint(calls),
    )


def _hint(calls: Sequence[CollectiveRecord]) -> str:
    if not all(record.op in MESSAGES for record in calls):
        return "Call the groups in the same order on every rank that is in both."
    if all(record.coalesced is not None for record in calls):
        return "Put the sends and receives that ranks exchange into one batch_isend_irecv: what is in a later one waits for the one before."
    if any(record.is_async and record.device is not None for record in calls):
        return "NCCL runs the messages of two ranks in the order of their calls, asynchronous or not: let one side receive first, or use batch_isend_irecv."  # noqa: E501
    return "Let one side receive first, or use batch_isend_irecv."
