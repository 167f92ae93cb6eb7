"""Queues of a device and what they wait for: streams and communicators, events, and calls that begin when all members have arrived."""

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from fakerun.analysis.time.timeline.parts import Block
from fakerun.analysis.time.timeline.spans import HOST


class Waiter(Protocol):
    """Goes on when what it waits for has happened: a queue, or a host."""

    def go_on(self) -> None: ...


class Host(Protocol):
    """The host that gives a queue its tasks."""

    def resume(self) -> None:
        """Go on if it pauses: the queue is done with what was pending."""


class Event:
    """Something that happens at one time on the device; `time` is None until that is known."""

    __slots__ = ("cause", "time", "waiters")

    def __init__(self, time: float | None = None, cause: int = HOST) -> None:
        self.time = time
        self.cause = cause
        self.waiters: list[Waiter] | None = None

    def wait(self, waiter: Waiter) -> None:
        """Let it go on when this happens."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)


class Queue:
    """A stream or a communicator: `free` is when what it was given so far has ended, `cause` what ended last.

    `pending` are tasks behind one that waits for an event which has not happened; None if there are none.
    """

    __slots__ = ("cause", "free", "host", "pending")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.free = 0.0
        self.cause = HOST
        self.pending: deque[Task] | None = None

    def do(self, task: "Task") -> None:
        """Do the task when those before it are done."""
        if self.pending is not None:
            self.pending.append(task)
        elif not task(self):
            self.pending = deque((task,))

    def go_on(self) -> None:
        """Do what is pending, as far as possible."""
        pending = self.pending
        while pending and pending[0](self):
            pending.popleft()
        if not pending:
            self.pending = None
            self.host.resume()


Task: TypeAlias = Callable[[Queue], bool]
"""Does something on a queue, once; False if it has to wait, and is to be called again later."""


class Meeting:
    """A call of all its members: `missing` of them have not arrived. Of members that arrive last together the first class counts."""

    __slots__ = ("blocks", "last", "missing", "seconds", "start")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.start = 0.0
        self.last = (HOST, HOST)
        self.seconds = 0.0
        self.blocks: list[BlockPlay] = []

    def arrive(self, block: "BlockPlay") -> None:
        arrived, who = block.arrived, (block.rank, block.spec.calls[-1])
        if not self.blocks or arrived > self.start or (arrived == self.start and who < self.last):
            self.start, self.last = arrived, who
        self.seconds = max(self.seconds, block.spec.seconds)
        self.blocks.append(block)
        self.missing -= 1


class BlockPlay:
    """One block of calls as it is played; its `end` is an event."""

    __slots__ = ("arrived", "cause", "deferred", "end", "events", "issued", "last", "open", "rank", "seconds", "spec", "start", "stream")

    def __init__(self, rank: int, spec: Block) -> None:
        self.rank = rank
        self.spec = spec
        self.issued = 0.0
        self.arrived = 0.0
        self.cause = HOST
        self.start = 0.0
        self.last = (HOST, HOST)
        self.seconds = spec.seconds
        self.open = len(spec.meetings)
        self.stream = 0
        self.end = Event()
        self.events: list[Event] = []
        """The work before each of its calls, on their streams."""
        self.deferred: list[Queue] | None = []
        """Streams that are told to wait for it before the last of its calls is issued; None once that is."""
