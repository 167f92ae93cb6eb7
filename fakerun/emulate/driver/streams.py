"""CUDA streams, events and graphs of the simulated accelerator: everything is done the moment it is asked for."""

from types import TracebackType
from typing import Any, Self

import torch

from fakerun.emulate.device.devices import ACCELERATOR, Devices


class StreamTable:
    """The default and the current stream of each device, and the classes that a script makes streams and events of."""

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self._default: dict[int, Any] = {}
        self._current: dict[int, Any] = {}
        table = self

        class Stream:
            """Stands for `torch.cuda.Stream`."""

            _made = 0

            def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any) -> None:
                Stream._made += 1
                self.device_index = table.devices.index(device)
                self.device = torch.device(ACCELERATOR, self.device_index)
                self.stream_id = self.cuda_stream = Stream._made
                self.device_type = 1
                self.priority = priority
                self._outer: list[Any] = []  # the current streams where this one was entered: it may be entered again inside itself

            def query(self) -> bool:
                return True

            def synchronize(self) -> None:
                """Nothing is under way."""

            def wait_event(self, event: Any) -> None:
                """It has happened."""

            def wait_stream(self, stream: Any) -> None:
                """It is idle."""

            def record_event(self, event: Any = None) -> Any:
                return event if event is not None else Event()

            def is_capturing(self) -> bool:
                return False

            def __enter__(self) -> Self:
                self._outer.append(table.current(self.device_index))
                table.set_current(self)
                return self

            def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
                table.set_current(self._outer.pop())

        class ExternalStream(Stream):
            """Stands for `torch.cuda.ExternalStream`."""

        self.Stream, self.ExternalStream, self.Event = Stream, ExternalStream, Event

    def default(self, device: Any = None) -> Any:
        index = self.devices.index(device)
        if index not in self._default:
            self._default[index] = self.Stream(index)
        return self._default[index]

    def current(self, device: Any = None) -> Any:
        index = self.devices.index(device)
        return self._current.get(index) or self.default(index)

    def set_current(self, stream: Any) -> None:
        if stream is not None:
            self._current[stream.device_index] = stream


class Event:
    """Stands for `torch.cuda.Event`: recorded and over. Nothing takes time here: fakerun estimates none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.cuda_event = 0

    def record(self, stream: Any = None) -> None:
        """It happens at once."""

    def wait(self, stream: Any = None) -> None:
        """It has happened."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """It has happened."""

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds between two events: the neutral value, since no time passes."""
        return 1.0


class StreamContext:
    """Stands for `torch.cuda.stream(s)`; None changes nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        if self._stream is not None:
            self._stream.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.__exit__(kind, error, traceback)


class Graph:
    """Stands for `torch.cuda.CUDAGraph`: what is captured runs eagerly, once; a replay repeats nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pool = (0, 0)

    def capture_begin(self, *args: Any, **kwargs: Any) -> None:
        """What follows runs as it is."""

    def capture_end(self) -> None:
        """It has run."""

    def replay(self) -> None:
        """It has run."""

    def reset(self) -> None:
        """Nothing is kept."""

    def pool(self) -> tuple[int, int]:
        return self._pool
