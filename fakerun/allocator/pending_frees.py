"""PendingFrees: blocks that were freed while other streams may still use them.

`insert_events`, `process_events`, `insert_events_deferred_until_no_capture`, `remove_cudagraph_stream_uses` of
c10/cuda/CUDACachingAllocator.cpp. Freeing a block records an event on each stream of `record_stream`; the block is cached
when all are over.
"""

from collections import deque
from collections.abc import Callable, Iterator

from fakerun.allocator.blocks import Block


class PendingFrees:
    """Events by stream, in the order in which they were recorded, each with its block."""

    def __init__(self) -> None:
        self.any = False
        self._events: dict[int, deque[Block]] = {}
        self._over: dict[int, int] = {}
        self._deferred: list[Block] = []
        self._uses_in_capture: dict[Block, set[int]] = {}

    def add(self, block: Block) -> None:
        """Record an event on each stream that the block was used on."""
        self.any = True
        streams, block.stream_uses = block.stream_uses or set(), None
        for stream in sorted(streams):
            block.pending_events += 1
            self._events.setdefault(stream, deque()).append(block)

    def defer(self, block: Block) -> None:
        """Record the events after the capture: an event that is recorded in it cannot be asked for."""
        self.any = True
        self._deferred.append(block)

    def note_use_in_capture(self, block: Block, stream: int) -> None:
        """That is forgotten when a free that was delayed is recorded, and not before: torch keeps it for the next user of a block whose
        free was not (2.11).
        """
        self._uses_in_capture.setdefault(block, set()).add(stream)

    def record_deferred(self) -> list[Block]:
        """The capture is over: record events for uses from before it. Returns blocks that have none."""
        over = []
        for block in self._deferred:
            assert block.stream_uses is not None
            block.stream_uses -= self._uses_in_capture.pop(block, set())
            self.add(block)
            if not block.pending_events:
                over.append(block)
        self._deferred.clear()
        return over

    def complete(self, stream: int | None) -> None:
        """The device has reached all events that were recorded until now, on this stream or on all."""
        for other in self._events if stream is None else [stream] if stream in self._events else []:
            self._over[other] = len(self._events[other])

    def take_completed(self, *, at_once: bool) -> Iterator[Block]:
        """The blocks whose last event is over; with `at_once` every event is."""
        for stream in list(self._events):
            events = self._events[stream]
            over = len(events) if at_once else self._over.pop(stream, 0)
            for _ in range(over):
                block = events.popleft()
                block.pending_events -= 1
                if not block.pending_events:
                    yield block
            if not events:
                del self._events[stream]
        self.any = bool(self._events or self._deferred)

    def take_all(self, belongs: Callable[[Block], bool]) -> Iterator[Block]:
        """Wait for every event of blocks that belong to what is synchronized."""
        for stream in list(self._events):
            over = self._over.pop(stream, 0)
            kept: deque[Block] = deque()
            for position, block in enumerate(self._events.pop(stream)):
                if not belongs(block):
                    kept.append(block)
                    self._over[stream] = self._over.get(stream, 0) + (position < over)
                    continue
                block.pending_events -= 1
                if not block.pending_events:
                    yield block
            if kept:
                self._events[stream] = kept
        self.any = bool(self._events or self._deferred)
