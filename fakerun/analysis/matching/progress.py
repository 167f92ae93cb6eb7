"""Plays the ranks' calls through with their blocking rules, and says who waits for whom in a circle.

A call that is not asynchronous ends when its peers have made theirs; an asynchronous one must have ended where the script waits for it.
Peers that are not simulated are taken to be there in time. Sizes and dtypes are not looked at: a call that is refused does not hang.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fakerun.analysis.matching.streams import MESSAGES, Group
from fakerun.analysis.matching.words import call
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding import Finding, Severity
from fakerun.records.run import RankRecord

Point = tuple[object, ...]
"""What ranks meet at: the nth collective of a group, the nth message of a channel."""


@dataclass(slots=True)
class _Walk:
    """How far a rank has come: it has made the calls before `position`; `pending` are asynchronous ones, by where they are waited for."""

    records: Sequence[CollectiveRecord]
    position: int = 0
    made: Counter[object] = field(default_factory=Counter)
    pending: list[tuple[int, int]] = field(default_factory=list)
    blocked_at: int | None = None


class _Play:
    def __init__(self, ranks: Sequence[RankRecord]) -> None:
        self.walks = {rank.rank: _Walk(rank.collectives) for rank in ranks}
        self._points: dict[tuple[int, int], Point] = {}
        self._arrived: dict[Point, set[int]] = defaultdict(set)
        self._waiting: dict[Point, set[int]] = defaultdict(set)

    def run(self) -> None:
        """Let every rank go as far as it can."""
        ready = list(self.walks)
        while ready:
            ready.extend(self._advance(ready.pop()))

    def missing(self, rank: int) -> set[int]:
        """The peers that a blocked rank waits for."""
        blocked_at = self.walks[rank].blocked_at
        return set() if blocked_at is None else self._absent(rank, blocked_at)

    def _advance(self, rank: int) -> list[int]:
        """Make calls until one blocks; the ranks that this may let go on."""
        walk = self.walks[rank]
        walk.blocked_at = None
        freed: list[int] = []
        while True:
            for deadline, position in walk.pending:
                if deadline <= walk.position and self._blocks(rank, position):
                    return freed
            walk.pending = [each for each in walk.pending if each[0] > walk.position]
            if walk.position == len(walk.records):
                return freed
            freed += self._make(rank, walk)
            record = walk.records[walk.position - 1]
            if record.is_async:
                if record.waited_before is not None:
                    walk.pending.append((record.waited_before, walk.position - 1))
            elif self._blocks(rank, walk.position - 1):
                walk.pending.append((walk.position, walk.position - 1))
                return freed

    def _make(self, rank: int, walk: _Walk) -> set[int]:
        record = walk.records[walk.position]
        stream = _stream(rank, record)
        point = self._points[rank, walk.position] = (stream, walk.made[stream])
        walk.made[stream] += 1
        walk.position += 1
        self._arrived[point].add(rank)
        return self._waiting.pop(point, set())

    def _blocks(self, rank: int, position: int) -> bool:
        if not self._absent(rank, position):
            return False
        self._waiting[self._points[rank, position]].add(rank)
        self.walks[rank].blocked_at = position
        return True

    def _absent(self, rank: int, position: int) -> set[int]:
        record = self.walks[rank].records[position]
        needed = {each for each in ([record.peer] if record.op in MESSAGES else record.group_ranks) if each is not None}
        return (needed & self.walks.keys()) - self._arrived[self._points[rank, position]] - {rank}


def _stream(rank: int, record: CollectiveRecord) -> object:
    group = Group(record.process_group, record.group_ranks)
    if record.op not in MESSAGES:
        return group
    pair = (rank, record.peer) if record.op is CollectiveOp.SEND else (record.peer, rank)
    return group, pair, record.tag or 0


def cycle_findings(ranks: Sequence[RankRecord]) -> Iterator[Finding]:
    """One `wait-cycle` for each circle of ranks that wait for each other."""
    play = _Play(ranks)
    play.run()
    waits = {rank: play.missing(rank) for rank in play.walks}
    told: set[int] = set()
    for rank in sorted(waits):
        cycle = _cycle(rank, waits)
        if cycle and not told & set(cycle):
            told |= set(cycle)
            yield _finding(cycle, {each: play.walks[each] for each in cycle})


def _cycle(start: int, waits: Mapping[int, set[int]]) -> list[int]:
    """The ranks of a circle that waiting leads into from `start`; empty if it leads to one that does not wait."""
    path: list[int] = []
    rank = start
    while rank not in path:
        path.append(rank)
        blocked = [peer for peer in waits[rank] if waits[peer]]
        if not blocked:
            return []
        rank = min(blocked)
    return path[path.index(rank) :]


def _finding(cycle: Sequence[int], walks: Mapping[int, _Walk]) -> Finding:
    calls = [walks[rank].records[walks[rank].blocked_at or 0] for rank in cycle]
    waits = [f"rank {rank} in {call(record)}" for rank, record in zip(cycle, calls, strict=True)]
    messages = all(record.op in MESSAGES for record in calls)
    return Finding(
        code="wait-cycle",
        severity=Severity.ERROR,
        message=f"ranks wait for each other in a circle: {'; '.join(waits)}.",
        ranks=tuple(sorted(cycle)),
        call_site=calls[0].call_site,
        hint="Let one side receive first, or use batch_isend_irecv."
        if messages
        else "Call the groups in the same order on every rank that is in both.",
    )
