"""Ctrl-C and SIGTERM as something to wait for, instead of an exception that can come between any two lines of the launcher."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """While the context is open, SIGINT and SIGTERM raise nothing: they are counted, and make `fileno` readable.

    A signal that is ignored or not handled stays so; outside the main thread, where Python delivers no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.count = 0
        self._reader, self._writer = -1, -1
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self._previous[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        for descriptor in (self._reader, self._writer):
            os.close(descriptor)

    def fileno(self) -> int:
        """A descriptor that is readable when there was a signal since the last `clear`."""
        return self._reader

    def clear(self) -> None:
        """Make `fileno` unreadable until the next signal."""
        try:
            while os.read(self._reader, 64):
                pass
        except BlockingIOError:
            return

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        os.write(self._writer, b"\0")
