"""CUDA streams and events of the simulated accelerator: who waits for whom is recorded; all work completes when it is issued."""

from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.device.host_waits import HostWaits
from fakerun.emulate.device.stream_pools import PRIORITIES, STREAMS_PER_POOL, StreamPools
from fakerun.emulate.driver.captures import Captures
from fakerun.emulate.unsupported.gaps import EVENT_HANDLES
from fakerun.records.device_program import stream_id
from fakerun.records.observer import StreamKey

_DEFAULT_ID = 0


class StreamTable:
    """The streams of each device, which of them are current, and the classes that a script makes streams and events of."""

    def __init__(self, context: EmulationContext) -> None:
        self.devices = context.devices
        self.execution = context.execution
        self.host_waits = context.part(HostWaits)
        self.captures = context.part(Captures)
        self._current = context.streams
        self._pools = context.part(StreamPools)
        self.Stream: Any = type("Stream", (_Stream,), {"table": self})
        self.ExternalStream: Any = type("ExternalStream", (_ExternalStream, self.Stream), {"table": self})
        self.Event: Any = type("Event", (_Event,), {"table": self})

    def next_id(self, device: int, priority: int) -> int:
        """The identity of the next stream of the device's pool for that priority."""
        _, level, index = self._pools.take(device, priority)
        return stream_id(level, index or 0)

    def default(self, device: Any = None) -> Any:
        return self._stream(self._current.default(self.devices.index(device)))

    def current(self, device: Any = None) -> Any:
        return self._stream(self._current.current(self.devices.index(device)))

    def set_current(self, stream: Any) -> None:
        if stream is not None:
            self._current.make_current(stream.key)

    def make_current(self, stream: StreamKey) -> None:
        self._current.make_current(stream)

    def key(self, stream: Any) -> StreamKey:
        """The key of a stream; of None that of the current one of the current device."""
        key: StreamKey = self._current.current(self.devices.current) if stream is None else stream.key
        return key

    def _stream(self, key: StreamKey) -> Any:
        device, priority, index = key
        return self.Stream(device, priority, stream_id=_DEFAULT_ID if index is None else stream_id(priority, index))


class _Stream:
    """Replaces `torch.cuda.Stream`."""

    table: ClassVar[StreamTable]

    def __init__(
        self, device: Any = None, priority: int = 0, *, stream_id: int | None = None, device_index: int | None = None, **kwargs: Any
    ) -> None:
        self.table.devices.initialize()
        self.device_index = self.table.devices.index(device if device_index is None else device_index)
        stream_id = self.table.next_id(self.device_index, priority) if stream_id is None else stream_id
        self.device = torch.device(ACCELERATOR, self.device_index)
        self.stream_id = self.cuda_stream = self.native_handle = stream_id
        self.device_type = 1
        self.priority = priority
        self._outer: list[StreamKey] = []  # the streams that were current when this one was entered, which may be nested

    @property
    def key(self) -> StreamKey:
        if self.stream_id == _DEFAULT_ID:
            return self.device_index, 0, None
        level = (self.stream_id >> 1 & 0xF) - 1
        if self.stream_id & 1 and 0 <= level < PRIORITIES and self.stream_id >> 5 < STREAMS_PER_POOL:
            return self.device_index, -level, self.stream_id >> 5
        return self.device_index, 0, self.stream_id  # made elsewhere: its address

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """The host waits for the stream."""
        self.table.execution.waited_for_stream(self.key, None)
        self.table.host_waits.wait()

    def wait_event(self, event: Any) -> None:
        """The stream waits for the event."""
        event.wait(self)

    def wait_stream(self, stream: Any) -> None:
        """The stream waits for what is queued on another."""
        self.table.captures.join(self.table.captures.of(stream.key), self.key)
        self.table.execution.waited_for_stream(stream.key, self.key)

    def record_event(self, event: Any = None) -> Any:
        event = self.table.Event() if event is None else event
        event.record(self)
        return event

    def is_capturing(self) -> bool:
        return self.table.captures.of(self.key) is not None

    @staticmethod
    def priority_range() -> tuple[int, int]:
        return 0, -5

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stream) and (self.stream_id, self.device_index) == (other.stream_id, other.device_index)

    def __hash__(self) -> int:
        return hash((self.stream_id, self.device_index))

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Self:
        self._outer.append(self.table.current(self.device_index).key)
        self.table.set_current(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.table.make_current(self._outer.pop())


class _ExternalStream(_Stream):
    """Replaces `torch.cuda.ExternalStream`."""

    def __init__(self, stream_ptr: int, device: Any = None, **kwargs: Any) -> None:
        super().__init__(device, stream_id=stream_ptr)


class _Event:
    """Replaces `torch.cuda.Event`. It completes when it is recorded, because fakerun simulates no time."""

    table: ClassVar[StreamTable]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.cuda_event = 0
        self._recording: int | None = None
        """The number of its last recording."""
        self._graph: object | None = None
        """That which this recording was captured into."""

    def record(self, stream: Any = None) -> None:
        key = self.table.key(stream)
        self._recording = self.table.execution.recorded_event(key)
        self._graph = self.table.captures.of(key)

    def wait(self, stream: Any = None) -> None:
        """A stream waits for the event; CUDA ignores one that was never recorded."""
        if self._recording is not None:
            key = self.table.key(stream)
            self.table.captures.join(self._graph, key)
            self.table.execution.waited_for_event(self._recording, key)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """The host waits for the event."""
        if self._recording is not None:
            self.table.execution.waited_for_event(self._recording, None)
        self.table.host_waits.wait()

    def ipc_handle(self) -> NoReturn:
        raise EVENT_HANDLES.error()

    @classmethod
    def from_ipc_handle(cls, device: Any, handle: Any) -> NoReturn:
        raise EVENT_HANDLES.error()

    def __repr__(self) -> str:
        return "<torch.cuda.Event 0x0>"

    def elapsed_time(self, end: "_Event") -> float:
        """Milliseconds between two events: a placeholder, since no time passes."""
        return 1.0


class StreamContext:
    """Replaces `torch.cuda.stream(s)`; None changes nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        if self._stream is not None:
            self._stream.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.__exit__(kind, error, traceback)
