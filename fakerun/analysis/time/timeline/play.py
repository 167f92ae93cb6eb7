"""Play: hosts, streams and communicators of all classes of ranks, each as far as what it waits for has happened, until nothing is left.

The host of a rank issues without waiting, except where the program synchronises. A stream or communicator is a queue: its tasks begin in
order, when the one before has ended. A queue, or a host, that waits for an event which has not happened is left until it has. What comes
out does not depend on who goes on first: each queue reads only what others have written once.

On NCCL a call waits for the work that its stream has when it is issued, runs on the queue of its communicator
(`fakerun.analysis.dependency.issue_order`) and begins to transfer when the last member has arrived.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.timeline.instructions import Action
from fakerun.analysis.time.timeline.parts import Block, Part
from fakerun.analysis.time.timeline.queues import BlockPlay, Event, Meeting, Queue, Waiter
from fakerun.analysis.time.timeline.runs import Run
from fakerun.analysis.time.timeline.spans import HOST


class Mark:
    """The end of a training step on one rank: the host's clock, and events of all that it had issued."""

    __slots__ = ("events", "host")

    def __init__(self, host: float, events: Sequence[Event]) -> None:
        self.host = host
        self.events = events

    @property
    def is_reached(self) -> bool:
        return all(event.time is not None for event in self.events)

    def last(self) -> tuple[float, int]:
        """When everything had ended, and what ended last."""
        return max([(self.host, HOST), *((event.time or 0.0, event.cause) for event in self.events)], key=lambda each: each[0])


_NO_HOST = HostTimes(operation_s=0.0, view_s=0.0, call_s=0.0, event_s=0.0)
"""While a graph is replayed."""

AnyRankPlay = TypeVar("AnyRankPlay", bound="RankPlay")


class Play(Generic[AnyRankPlay]):
    """Plays the parts, each by what `make` makes of it. `members` has, by number of matched queues, for each of these how many of its calls
    came before. `free_label` names groups whose calls take no time; `factors` has for each run of each part how much longer than alone it
    takes.
    """

    def __init__(
        self,
        make: "Callable[[Play[AnyRankPlay], Part, Sequence[float] | None], AnyRankPlay]",
        parts: Sequence[Part],
        members: Sequence[Sequence[int]],
        times: HostTimes,
        *,
        factors: Sequence[Sequence[float]] | None = None,
        free_label: str | None = None,
    ) -> None:
        self.times = times
        self.free_label = free_label
        self.ready: deque[Waiter] = deque()
        self._members = members
        self._meetings: dict[tuple[int, int], Meeting] = {}
        self.ranks = [make(self, part, factors[part.number] if factors else None) for part in parts]
        self.ready.extend(self.ranks)

    def run(self) -> None:
        """Play until nothing can go on. A host that pauses issues more only where all do: what is pending takes longer to play."""
        ready = self.ready
        while ready:
            while ready:
                ready.popleft().go_on()
            for rank in self.ranks:
                rank.resume(must_issue=True)

    def happen(self, event: Event, time: float, cause: int) -> None:
        """The event happens; what waited for it can go on."""
        event.time, event.cause = time, cause
        if event.waiters is not None:
            self.ready.extend(event.waiters)
            event.waiters = None

    def arrive(self, block: BlockPlay) -> None:
        """All of a block's calls are on the device. A call starts when its last member is there; coalesced ones start and end together."""
        for key in block.spec.meetings:
            meeting = self._meetings.get(key)
            if meeting is None:
                number, position = key
                meeting = self._meetings[key] = Meeting(sum(skipped <= position for skipped in self._members[number]))
            meeting.arrive(block)
            if not meeting.missing:
                del self._meetings[key]
                for each in meeting.blocks:
                    self._met(each, meeting)
        if not block.spec.meetings:
            block.start, block.last = block.arrived, (block.rank, block.spec.calls[-1])
            self.ranks[block.rank].ended(block)

    def _met(self, block: BlockPlay, meeting: Meeting) -> None:
        if block.last[0] == HOST or (meeting.start, block.last) > (block.start, meeting.last):
            block.start, block.last = meeting.start, meeting.last
        block.seconds = max(block.seconds, meeting.seconds)
        block.open -= 1
        if not block.open:
            self.ranks[block.rank].ended(block)


class RankPlay:
    """The host, the streams and the communicators of one class of ranks."""

    def __init__(self, play: "Play[Any]", part: Part, factors: Sequence[float] | None) -> None:
        self.play = play
        self.part = part
        self.factors = factors
        self.host = 0.0
        self.streams = [Queue(self) for _ in range(part.program.streams)]
        self.communicators = [Queue(self) for _ in range(part.communicators)]
        self.marks = {-1: Mark(0.0, ())}
        self.windows: list[tuple[float, float]] = [(0.0, 0.0)] * (len(part.operations_before) - 1)
        """When each run ran."""
        self.transfers: list[tuple[float, float, float, str]] = []
        """Of each block that ended: start, end, occupancy, label."""
        self.runs_issued = self.calls_issued = 0
        self._position = 0
        self._pauses = self._must_issue = self._is_replaying = False
        self._events: list[Event] = []
        self._blocks: dict[int, BlockPlay] = {}
        self._ends: dict[int, tuple[float, int]] = {}
        """Of calls that had nothing to wait for: their ends, as of an event."""
        self._waited_for: deque[Event] = deque()

    # -- the host ----------------------------------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Issue what comes next, until the host has to wait; or pause where a stream is not done with what is pending."""
        items, runs, streams = self.part.program.items, self.part.runs, self.streams
        position, count, run = self._position, len(items), Action.RUN
        while position < count and (not self._waited_for or self._has_waited()):
            action, number, stream = items[position]
            queue = streams[stream]
            if queue.pending is not None and not self._must_issue:
                self._pauses = True
                break
            self._must_issue = False
            position += 1
            if action is run:
                self._run(runs[number], queue)
            else:
                self._act(action, number, stream)
        self._position = position

    def resume(self, *, must_issue: bool = False) -> None:
        """Go on if the host pauses. If it `must_issue`, then even if its stream is not done."""
        if self._pauses:
            self._pauses = False
            self._must_issue = must_issue
            self.play.ready.append(self)

    def _has_waited(self) -> bool:
        """Whether everything has happened that the host waits for."""
        while self._waited_for:
            event = self._waited_for[0]
            if event.time is None:
                event.wait(self)
                return False
            self._waited_for.popleft()
            if event.time > self.host:
                self.waited(event)
                self.host = event.time
        return True

    def _run(self, run: Run, queue: Queue) -> None:
        number, host = self.runs_issued, self.host
        if queue.pending is None:
            self.execute(queue, run, host, number)
        else:
            queue.pending.append(lambda queue: self.execute(queue, run, host, number))
        self.runs_issued = number + 1
        self.host = host + run.host_s

    def _act(self, action: Action, number: int, stream: int) -> None:
        times = _NO_HOST if self._is_replaying else self.play.times
        if action is Action.CALL:
            self.host += times.call_s
            self._call(number - self.part.program.first_call, stream)
        elif action is Action.WAIT_FOR_CALL:
            self._wait_for_call(number - self.part.program.first_call, self.streams[stream])
        elif action is Action.STEP_END:
            self._end_step(number)
        elif action is Action.RECORD_EVENT:
            self.host += times.event_s
            self._events.append(self._recorded(self.streams[stream]))
        elif action is Action.WAIT_FOR_EVENT:
            self.host += times.event_s
            self._wait(self.streams[stream], self._event(number))
        elif action is Action.WAIT_FOR_STREAM:
            self.host += 2 * times.event_s
            self._wait_for_queue(self.streams[stream], self.streams[number])
        elif action is Action.BEGIN_REPLAY or action is Action.END_REPLAY:
            self.host += 0.0 if self._is_replaying else times.operation_s
            self._is_replaying = action is Action.BEGIN_REPLAY
        else:
            self.host += times.event_s
            self._waited_for.extend(self._synchronized(action, number, stream))

    def _synchronized(self, action: Action, number: int, stream: int) -> Iterable[Event]:
        """What the host waits for."""
        if action is Action.SYNCHRONIZE_EVENT:
            return (self._event(number),)
        if action is Action.SYNCHRONIZE_STREAM:
            return (self._recorded(self.streams[stream]),)
        devices = self.part.devices
        streams = [
            queue for queue, device in zip(self.streams, devices, strict=True) if action is Action.SYNCHRONIZE_ALL or device == number
        ]
        return [self._recorded(queue) for queue in (*streams, *self.communicators)]

    def _end_step(self, step: int) -> None:
        """The host has issued all of a step."""
        self.marks[step] = Mark(self.host, [self._recorded(queue) for queue in (*self.streams, *self.communicators)])

    def waited(self, event: Event) -> None:
        """The host waited for this event until now."""

    # -- events ------------------------------------------------------------------------------------------------------------------------

    def _event(self, number: int) -> Event:
        """An event of the program; those recorded before the play have happened."""
        played = number - self.part.program.first_event
        return self._events[played] if played >= 0 else Event(0.0)

    def _recorded(self, queue: Queue) -> Event:
        """An event that happens when the queue has done what it was given."""
        if queue.pending is None:
            return Event(queue.free, queue.cause)
        event = Event()
        queue.pending.append(lambda queue: self._record(queue, event))
        return event

    def _record(self, queue: Queue, event: Event) -> bool:
        self.play.happen(event, queue.free, queue.cause)
        return True

    def _wait_for_queue(self, queue: Queue, other: Queue) -> None:
        if queue.pending is not None or other.pending is not None:
            self._wait(queue, self._recorded(other))
        elif other.free > queue.free:
            queue.free, queue.cause = other.free, other.cause

    def _wait(self, queue: Queue, event: Event) -> None:
        if queue.pending is not None or event.time is None:
            queue.do(lambda queue: self._waits(queue, event))
        elif event.time > queue.free:
            queue.free, queue.cause = event.time, event.cause

    @staticmethod
    def _waits(queue: Queue, event: Event) -> bool:
        if event.time is None:
            event.wait(queue)
            return False
        if event.time > queue.free:
            queue.free, queue.cause = event.time, event.cause
        return True

    # -- communication -----------------------------------------------------------------------------------------------------------------

    def _call(self, number: int, stream: int) -> None:
        """Issue a call; its kernel is launched with that of the last call that it is coalesced with."""
        spec, queue = self.part.blocks[number], self.streams[stream]
        self.calls_issued = number + 1
        communicator = self.communicators[spec.communicators[0]]
        if spec.is_alone and len(spec.calls) == 1 and queue.pending is None and communicator.pending is None:
            self._transfer(spec, stream, queue, communicator)
            return
        block = self._blocks.get(spec.calls[0])
        if block is None:
            block = self._blocks[spec.calls[0]] = BlockPlay(self.part.number, spec)
        block.events.append(self._recorded(queue))
        if number == spec.calls[-1]:
            block.issued, block.stream = self.host, stream
            self._launch(block)

    def _transfer(self, spec: Block, stream: int, queue: Queue, communicator: Queue) -> None:
        """Do at once what `_launch` does where nothing has to wait."""
        last = queue if queue.free > communicator.free else communicator
        launched = self.host + self.play.times.launch_s
        arrived, cause = (launched, HOST) if launched >= last.free else (last.free, last.cause)
        end = arrived + self._seconds(spec, spec.seconds)
        self.transferred(spec, (self.host, arrived, arrived, end), stream, cause, (self.part.number, spec.calls[0]))
        communicator.free, communicator.cause = end, self.cause_of(spec)
        self._ends[spec.calls[0]] = end, communicator.cause

    def _launch(self, block: BlockPlay) -> None:
        queues = [self.communicators[each] for each in block.spec.communicators]
        first = queues[0]
        for event in (*block.events, *map(self._recorded, queues[1:])):
            self._wait(first, event)
        first.do(lambda queue: self._arrive(queue, block))
        for queue in queues:
            self._wait(queue, block.end)
        for queue in block.deferred or ():
            self._wait(queue, block.end)
        block.deferred = None

    def _arrive(self, queue: Queue, block: BlockPlay) -> bool:
        launched = block.issued + self.play.times.launch_s
        block.arrived, block.cause = (launched, HOST) if launched >= queue.free else (queue.free, queue.cause)
        self.play.arrive(block)
        return True

    def _wait_for_call(self, number: int, queue: Queue) -> None:
        if number < 0:
            return
        end = self._ends.get(number)
        if end is not None:
            if queue.pending is not None:
                self._wait(queue, Event(*end))
            elif end[0] > queue.free:
                queue.free, queue.cause = end
            return
        block = self._blocks[self.part.blocks[number].calls[0]]
        if block.deferred is not None:
            block.deferred.append(queue)
        else:
            self._wait(queue, block.end)

    def ended(self, block: BlockPlay) -> None:
        """It is known when the block starts and ends."""
        end = block.start + self._seconds(block.spec, block.seconds)
        self.transferred(block.spec, (block.issued, block.arrived, block.start, end), block.stream, block.cause, block.last)
        self.play.happen(block.end, end, self.cause_of(block.spec))

    def _seconds(self, spec: Block, seconds: float) -> float:
        return 0.0 if spec.label == self.play.free_label else seconds

    def transferred(self, spec: Block, times: tuple[float, float, float, float], stream: int, cause: int, last: tuple[int, int]) -> None:
        """A block was issued, has arrived, starts and ends at these times; `last` are the class and the call that arrived last."""
        if spec.occupancy and spec.label != self.play.free_label:
            self.transfers.append((times[2], times[3], spec.occupancy, spec.label))

    def cause_of(self, spec: Block) -> int:
        """The block as a cause of what waits for it."""
        return HOST

    # -- operations --------------------------------------------------------------------------------------------------------------------

    def execute(self, queue: Queue, run: Run, host: float, number: int) -> bool:
        """Do the run of this number, which was issued from `host` on."""
        if run.durations_s:
            start = max(queue.free, host + run.issued_s[0])
            queue.free = run.free_after(queue.free, host, self.factors[number] if self.factors else 1.0)
            queue.cause = HOST
            self.windows[number] = (start, queue.free)
        return True
