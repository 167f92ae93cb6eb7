"""What a schedule does, worked out once for all ranks that have it: per group its collectives and messages, as numbers to compare.

Whatever can be equal in two ranks gets a number, the same for equals: the signature of a call, a stream of them, the lines that
they come from. Comparing ranks is then comparing numbers.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from fakerun.analysis.matching.compare.call_signature import MESSAGES, Counts, Signature, own_law, sent_and_received, signature_of
from fakerun.records.collective import CollectiveOp
from fakerun.records.schedule import Calls, Schedule, ScheduledCall


class Numbers(dict[Hashable, int]):
    """Numbers things from 0 on in the order in which they are first asked for; equal things have one number."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = number = len(self)
        return number


@dataclass(frozen=True, slots=True)
class Way:
    """Where messages go to, or come from: so many places ahead in the group. NCCL knows no tags: there it is None."""

    distance: int
    sends: bool
    tag: int | None

    def back(self, group_size: int) -> "Way":
        """The same way as the other side sees it."""
        return Way(-self.distance % group_size, not self.sends, self.tag)


@dataclass(frozen=True, slots=True)
class Kind:
    """What matching needs to know of a call. Calls that agree have one `number`; `law` says what is wrong with its sizes in themselves."""

    number: int
    signature: Signature
    law: str | None
    table: tuple[Counts, Counts] | None


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The collectives of a rank on a group, or its messages one way: `calls` counts in the schedule. Streams that agree are `alike`."""

    calls: tuple[int, ...]
    kinds: tuple[Kind, ...]
    numbers: tuple[int, ...]
    alike: int
    lines: int
    """The same for streams whose calls come from the same lines."""
    to_check: bool
    """Whether a call has sizes to be looked at beyond its signature."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a schedule does on one group."""

    trace: "Trace"
    slots: tuple[int, ...]
    collectives: Stream
    messages: Mapping[Way, Stream]
    from_anybody: bool
    """Whether it receives from whoever comes first: its messages cannot be told apart."""


@dataclass(slots=True, eq=False)
class Trace:
    """A distinct schedule."""

    schedule: Schedule
    kinds: tuple[Kind, ...]
    by_slot: Mapping[int, list[int]]
    views: dict[tuple[int, ...], View] = field(default_factory=dict)


class Traces:
    """The distinct schedules of a run, known by identity where possible: comparing them call by call takes as long as reading them."""

    def __init__(self) -> None:
        self._by_id: dict[int, Trace] = {}
        self._equal: dict[Schedule, Trace] = {}
        self._kinds: dict[Hashable, Kind] = {}
        self._signatures = Numbers()
        self._streams = Numbers()
        self._lines = Numbers()

    def of(self, calls: Calls, *, lasting: bool) -> Trace:
        """The trace of a rank. `lasting` says that the schedule outlives the matching: only then its identity means something."""
        schedule = calls.schedule
        trace = self._by_id.get(id(schedule)) if lasting else None
        if trace is None:
            trace = self._equal.get(schedule)
            if trace is None:
                trace = self._equal[schedule] = self._trace(schedule)
            if lasting:
                self._by_id[id(schedule)] = trace
        return trace

    def view(self, trace: Trace, slots: tuple[int, ...]) -> View:
        """What the trace does in those slots: more than one where a group goes by several labels; none where a rank does not use it."""
        view = trace.views.get(slots)
        if view is None:
            view = trace.views[slots] = self._view(trace, slots)
        return view

    def _trace(self, schedule: Schedule) -> Trace:
        by_slot: dict[int, list[int]] = defaultdict(list)
        kinds = []
        for index, call in enumerate(schedule.calls):
            by_slot[call.slot].append(index)
            kinds.append(self._kind(call, schedule.slots[call.slot].size))
        return Trace(schedule, tuple(kinds), by_slot)

    def _kind(self, call: ScheduledCall, size: int) -> Kind:
        key = (call.op, call.dtype, call.input_sizes, call.output_sizes, call.input_splits, call.output_splits, call.reduce_op, call.root_group_rank, size)  # fmt: skip # noqa: E501
        kind = self._kinds.get(key)
        if kind is None:
            signature = signature_of(call, call.root_group_rank)
            kind = Kind(self._signatures[signature], signature, own_law(call, size), sent_and_received(call, size))
            self._kinds[key] = kind
        return kind

    def _view(self, trace: Trace, slots: tuple[int, ...]) -> View:
        calls = trace.schedule.calls
        indices = sorted(index for slot in slots for index in trace.by_slot[slot])
        ways: dict[Way, list[int]] = defaultdict(list)
        collectives = []
        from_anybody = False
        for index in indices:
            if calls[index].op not in MESSAGES:
                collectives.append(index)
            elif (way := way_of(calls[index])) is not None:
                ways[way].append(index)
            else:
                from_anybody = True
        messages = {way: self._stream(trace, of_way) for way, of_way in ways.items()}
        return View(trace, slots, self._stream(trace, collectives), messages, from_anybody)

    def _stream(self, trace: Trace, indices: list[int]) -> Stream:
        calls = trace.schedule.calls
        kinds = tuple(trace.kinds[index] for index in indices)
        numbers = tuple(kind.number for kind in kinds)
        return Stream(
            calls=tuple(indices),
            kinds=kinds,
            numbers=numbers,
            alike=self._streams[numbers],
            lines=self._lines[tuple(calls[index].call_site for index in indices)],
            to_check=any(kind.law is not None or kind.table is not None for kind in kinds),
        )


def way_of(call: ScheduledCall) -> Way | None:
    """Which way a message goes; None if it is received from whoever comes first."""
    if call.peer_offset is None:
        return None
    return Way(call.peer_offset, call.op is CollectiveOp.SEND, None if call.device == "cuda" else call.tag or 0)
