"""Cycles in the wait-for graph: found among classes of ranks, reported for ranks."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from fakerun.analysis.dependency import Dependency, SimulatedWorld, WaitForGraph
from fakerun.analysis.matching.description import describe_call, describe_group, other_sites
from fakerun.records.collective import P2P_OPS, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import name_ranks

State: TypeAlias = tuple[int, int]
"""A rank, and a node of its class that is never reached."""

RankCall: TypeAlias = tuple[int, int]
"""A rank, and the index of one of its calls."""

_SHOWN = 8
"""Calls of a cycle that a message names."""


def deadlock_findings(graph: WaitForGraph, blocked: set[int]) -> Iterator[Finding]:
    """One `deadlock` for each cycle among `blocked` nodes, which no mismatch explains; equal cycles of different ranks are one finding.

    The partition must be stable: then every rank of a class is blocked where its class is.
    """
    equal: dict[frozenset[tuple[int, int]], list[list[RankCall]]] = {}
    reported: set[int] = set()
    for cycle in _Search(graph, blocked).cycles():
        ranks = {rank for rank, _ in cycle}
        if not reported & ranks:
            reported |= ranks
            equal.setdefault(frozenset((graph.partition.class_of[rank], index) for rank, index in cycle), []).append(cycle)
    for cycles in equal.values():
        yield deadlock_finding(graph.partition.world, cycles)


class _Search:
    """Follows each rank to the one that it waits for, until a rank is met again."""

    def __init__(self, graph: WaitForGraph, blocked: set[int]) -> None:
        self._graph = graph
        self._blocked = blocked
        self._partition = graph.partition

    def cycles(self) -> Iterator[list[RankCall]]:
        """Each cycle once: its ranks, with the call in which each one waits."""
        first = self._first_blocked()
        seen: set[State] = set()
        for rank in sorted(self._partition.class_of):
            node = first.get(self._partition.class_of[rank])
            state = None if node is None else (rank, node)
            path: dict[State, list[RankCall]] = {}
            while state is not None and state not in seen:
                seen.add(state)
                step = self._step(*state)
                if step is None:
                    break
                path[state], state = step
            if state in path:
                states = list(path)
                yield [call for each in states[states.index(state) :] for call in path[each]]

    def _first_blocked(self) -> Mapping[int, int]:
        first: dict[int, int] = {}
        for node in sorted(self._blocked):
            owner = self._graph.owner[node]
            if owner is not None:
                first.setdefault(owner, node)
        return first

    def _step(self, rank: int, node: int) -> tuple[list[RankCall], State] | None:
        """The call in which the rank waits, and what it waits for: another rank that cannot start its part.

        A coalesced call may also wait for the calls that are coalesced with its counterpart: then these are returned too.
        """
        index = self._waiting_call(node)
        if index is None:
            return None
        pending = deque([[(rank, index)]])
        seen = {(rank, self._completing_with(rank, index)[0])}
        while pending:
            path = pending.popleft()
            here, _ = path[-1]
            for each in self._completing_with(*path[-1]):
                state = self._unstarted(here, each)
                if state is not None:
                    return [*path[:-1], (here, each)], state
                for other, theirs in self._coalesced_counterparts(here, each):
                    if (key := (other, self._completing_with(other, theirs)[0])) not in seen:
                        seen.add(key)
                        pending.append([*path[:-1], (here, each), (other, theirs)])
        return None

    def _waiting_call(self, node: int) -> int | None:
        """The call that a rank waits for at that node, or before it."""
        while True:
            dependency = next((each for each in self._graph.dependencies[node] if each.node in self._blocked), None)
            if dependency is None:
                return None
            if self._graph.owner[dependency.node] is None:
                return dependency.call if dependency.call >= 0 else self._graph.first_coalesced[node]
            node = dependency.node

    def _completing_with(self, rank: int, index: int) -> Sequence[int]:
        return self._partition.issue_orders[rank].completing_with(index)

    def _unstarted(self, rank: int, index: int) -> State | None:
        """The rank that cannot start its part of that call."""
        for start in self._graph.dependencies[self._completion(rank, index)]:
            owner = self._graph.owner[start.node]
            if start.node in self._blocked and owner is not None and (other := self._met(rank, index, start)) is not None:
                return other, start.node
        return None

    def _completion(self, rank: int, index: int) -> int:
        return self._graph.completions[self._partition.class_of[rank]][index]

    def _coalesced_counterparts(self, rank: int, index: int) -> Iterator[RankCall]:
        """The p2p call that matches that p2p call, if it is coalesced."""
        group, direction = self._partition.issue_orders[rank].calls[index].queue or (0, None)
        peer = None if direction is None else self._partition.peer(rank, group, direction)
        if direction is None or peer is None:
            return
        completion = self._completion(rank, index)
        calls = self._partition.issue_orders[peer].calls
        for theirs, other in enumerate(self._graph.completions[self._partition.class_of[peer]]):
            if other != completion or calls[theirs].coalesced is None:
                continue
            _, their_direction = calls[theirs].queue or (0, None)
            if their_direction is not None and their_direction.is_send != direction.is_send:
                yield peer, theirs

    def _met(self, rank: int, index: int, start: Dependency) -> int | None:
        """A rank of the class that owns that start, which takes part in the call with it."""
        queue = self._partition.issue_orders[rank].calls[index].queue
        assert queue is not None
        group_index, direction = queue
        group = self._partition.world.ranks[rank].groups[group_index]
        reverse = None if direction is None else direction.reverse(len(group.ranks))
        others = group.slots if direction is None else [self._partition.peer(rank, group_index, direction)]
        for other in others:
            if other is not None and other != rank and self._partition.class_of[other] == self._graph.owner[start.node]:
                their_queue = self._partition.issue_orders[other].calls[start.call].queue
                if their_queue == (self._partition.group_index(other, group), reverse):
                    return other
        return None


# -- the finding -------------------------------------------------------------------------------------------------------------------------


def deadlock_finding(world: SimulatedWorld, cycles: Sequence[Sequence[RankCall]]) -> Finding:
    """The finding for equal cycles of ranks, each waiting in its call for the next one."""
    cycle = sorted(cycles[0])
    records = [world.record(rank, index) for rank, index in cycle]
    waits = [f"rank {rank} in {_waiting_in(record)}" for (rank, _), record in zip(cycle, records, strict=True)]
    if len(waits) > _SHOWN:
        waits = [*waits[:_SHOWN], f"and {len(waits) - _SHOWN} more"]
    others = len(cycles) - 1
    more = f" The same deadlock occurs in {others} other set{'s' * (others > 1)} of ranks." if others else ""
    return Finding(
        code=FindingCode.DEADLOCK,
        message=f"{name_ranks(rank for rank, _ in cycle)} wait for each other: {'; '.join(waits)}.{more}",
        ranks=tuple(sorted(rank for each in cycles for rank, _ in each)),
        call_site=records[0].call_site,
        hint=_hint(records),
        other_call_sites=other_sites(records[0].call_site, (record.call_site for record in records)),
    )


def _waiting_in(record: CollectiveRecord) -> str:
    """`send float32[8] to rank 1 at train.py:1`, `all_reduce float32[8] at train.py:1 on group tp (ranks 0-1)`."""
    group = "" if record.op in P2P_OPS else f" on {describe_group(record)}"
    return f"{describe_call(record)}{group}"


def _hint(records: Sequence[CollectiveRecord]) -> str:
    if not all(record.op in P2P_OPS for record in records):
        return "Issue the collectives of these groups in the same order on every rank that is in more than one of them."
    if all(record.coalesced is not None for record in records):
        return "Put the sends and receives that ranks exchange into one batch_isend_irecv: a batch waits for the batches issued before it."
    if any(record.is_async and record.device is not None for record in records):
        return "NCCL runs the p2p calls of two ranks in the order of issue, also asynchronous ones: let one side receive first, or use batch_isend_irecv."  # noqa: E501
    return "Let one side receive first, or use batch_isend_irecv."
