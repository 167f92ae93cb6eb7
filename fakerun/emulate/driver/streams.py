"""CUDA streams and events of the simulated accelerator: all work completes when it is issued."""

from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.unsupported.gaps import EVENT_HANDLES


class StreamTable:
    """The default and the current stream of each device, and the classes that a script makes streams and events of."""

    def __init__(self, context: EmulationContext) -> None:
        self.devices = context.devices
        self._default: dict[int, Any] = {}
        self._current: dict[int, Any] = {}
        self._made = 0
        self.Stream: Any = type("Stream", (_Stream,), {"table": self})
        self.ExternalStream: Any = type("ExternalStream", (_ExternalStream, self.Stream), {"table": self})
        self.Event = Event

    def next_id(self) -> int:
        """A number for a new stream; the default one has 0."""
        self._made += 1
        return self._made

    def default(self, device: Any = None) -> Any:
        index = self.devices.index(device)
        if index not in self._default:
            self._default[index] = self.Stream(index, stream_id=0)
        return self._default[index]

    def current(self, device: Any = None) -> Any:
        index = self.devices.index(device)
        return self._current.get(index) or self.default(index)

    def set_current(self, stream: Any) -> None:
        if stream is not None:
            self._current[stream.device_index] = stream


class _Stream:
    """Replaces `torch.cuda.Stream`."""

    table: ClassVar[StreamTable]

    def __init__(
        self, device: Any = None, priority: int = 0, *, stream_id: int | None = None, device_index: int | None = None, **kwargs: Any
    ) -> None:
        stream_id = self.table.next_id() if stream_id is None else stream_id
        self.device_index = self.table.devices.index(device if device_index is None else device_index)
        self.device = torch.device(ACCELERATOR, self.device_index)
        self.stream_id = self.cuda_stream = self.native_handle = stream_id
        self.device_type = 1
        self.priority = priority
        self._outer: list[Any] = []  # the streams that were current when this one was entered, which may be nested

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """All work is complete."""

    def wait_event(self, event: Any) -> None:
        """It is complete already."""

    def wait_stream(self, stream: Any) -> None:
        """It is idle."""

    def record_event(self, event: Any = None) -> Any:
        return event if event is not None else Event()

    def is_capturing(self) -> bool:
        return False

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
        self._outer.append(self.table.current(self.device_index))
        self.table.set_current(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.table.set_current(self._outer.pop())


class _ExternalStream(_Stream):
    """Replaces `torch.cuda.ExternalStream`."""

    def __init__(self, stream_ptr: int, device: Any = None, **kwargs: Any) -> None:
        super().__init__(device, stream_id=stream_ptr)


class Event:
    """Replaces `torch.cuda.Event`. It completes when it is recorded, because fakerun simulates no time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.cuda_event = 0

    def record(self, stream: Any = None) -> None:
        """It completes at once."""

    def wait(self, stream: Any = None) -> None:
        """It is complete already."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """It is complete already."""

    def ipc_handle(self) -> NoReturn:
        raise EVENT_HANDLES.error()

    @classmethod
    def from_ipc_handle(cls, device: Any, handle: Any) -> NoReturn:
        raise EVENT_HANDLES.error()

    def __repr__(self) -> str:
        return "<torch.cuda.Event 0x0>"

    def elapsed_time(self, end: "Event") -> float:
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
