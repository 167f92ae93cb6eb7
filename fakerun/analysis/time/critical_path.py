"""The critical path of a step: backwards from its end through what each operation, call and wait of a host waited for last."""

from bisect import bisect_right
from dataclasses import dataclass

from fakerun.analysis.time.time_by_kind import TimeKind
from fakerun.analysis.time.timeline.played_classes import label_of
from fakerun.analysis.time.timeline.spans import HOST, Timeline
from fakerun.call_site import CallSite
from fakerun.records.collective import Phase

_OPTIMIZER = tuple(Phase).index(Phase.OPTIMIZER)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEntry:
    """Time on the critical path, of all that has the same kind, name, module and line on the ranks of one class.

    `rank` is the representative of the class. `name` is the operation without its arguments, or the communication operation; of time of
    the host, what it issues. `label` is that of the group, for communication.
    """

    kind: TimeKind
    rank: int
    name: str
    label: str | None
    module: str | None
    call_site: CallSite | None
    seconds: float
    count: int


def critical_path(timeline: Timeline) -> tuple[PathEntry, ...]:
    """The entries of the class whose step takes longest, the longest first; they add up to its step."""
    path = _Path(timeline)
    path.walk()
    return path.entries()


_Key = tuple[TimeKind, int, str, str | None, str | None, CallSite | None]


class _Path:
    """Walks back in time from the end of the slowest rank's step; other ranks are entered through calls that waited for them."""

    def __init__(self, timeline: Timeline) -> None:
        self._ranks = {rank.representative: rank for rank in timeline.ranks}
        self._rank = timeline.slowest
        self._begin = self._rank.begin_s
        self._time = self._rank.end_s
        self._found: dict[_Key, list[float]] = {}

    def entries(self) -> tuple[PathEntry, ...]:
        found = (
            PathEntry(kind=kind, rank=rank, name=name, label=label, module=module, call_site=site, seconds=seconds, count=int(count))
            for (kind, rank, name, label, module, site), (seconds, count) in self._found.items()
        )
        return tuple(sorted(found, key=lambda entry: -entry.seconds))

    def walk(self) -> None:
        cause, waits = self._rank.last, len(self._rank.waits)
        while self._time > self._begin:
            if cause == HOST:
                waits -= 1
                cause = self._host(waits)
            elif cause >= 0:
                waits = bisect_right(self._rank.waits.operations_before, cause)
                cause = self._operation(cause)
            else:
                cause, waits = self._call(~cause)

    def _operation(self, number: int) -> int:
        operations = self._rank.operations
        kind = TimeKind.OPTIMIZER if operations.phases[number] == _OPTIMIZER else TimeKind.COMPUTE
        self._back_to(operations.starts[number], (kind, *self._operation_key(number)))
        return operations.causes[number]

    def _operation_key(self, number: int) -> tuple[int, str, None, str | None, CallSite | None]:
        rank, operations = self._rank, self._rank.operations
        name = rank.program.operations[operations.operations[number]].name
        block = operations.blocks[number]
        if block < 0:
            return rank.representative, name, None, None, None
        made = rank.program.blocks[block]
        return rank.representative, name, None, made.module, made.call_site

    def _call(self, number: int) -> tuple[int, int]:
        """The cause of its last member's arrival, and how many waits the host had behind it when it issued that."""
        calls = self._rank.calls
        record = self._rank.record.collectives[calls.seqs[number]]
        where = (self._rank.representative, record.op.value, label_of(record.group), record.module, record.call_site)
        self._back_to(calls.starts[number], (TimeKind.EXPOSED_COMMUNICATION, *where))
        last = calls.last_calls[number]
        if last == HOST:
            return HOST, 0
        self._rank = self._ranks[calls.last_ranks[number]]
        return self._rank.calls.causes[last], bisect_right(self._rank.waits.calls_before, last)

    def _host(self, wait: int) -> int:
        """The host issues, since its wait of this number or, without one, since the step began; then what it waited for is next."""
        waits, operations = self._rank.waits, self._rank.operations
        since = max(self._begin, waits.ends[wait]) if wait >= 0 else self._begin
        for number in range(bisect_right(operations.issued, self._time) - 1, -1, -1):
            if self._time <= since:
                break
            before = operations.issued[number - 1] if number else since
            self._back_to(max(before, since), (TimeKind.HOST, *self._operation_key(number)))
        if self._time > since:
            self._back_to(since, (TimeKind.HOST, self._rank.representative, "host", None, None, None))
        return waits.causes[wait] if wait >= 0 else HOST

    def _back_to(self, time: float, key: _Key) -> None:
        time = max(time, self._begin)
        if time < self._time:
            entry = self._found.setdefault(key, [0.0, 0])
            entry[0] += self._time - time
            entry[1] += 1
            self._time = time
