"""The user's Ctrl-C as something to wait for, instead of an exception that can come between any two lines of the launcher."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """While the context is open, SIGINT raises nothing: it is counted, and makes `fileno` readable.

    Where SIGINT is ignored, and outside the main thread, where Python delivers no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.count = 0
        self._reader, self._writer = -1, -1
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        if callable(signal.getsignal(signal.SIGINT)):
            try:
                self._previous = signal.signal(signal.SIGINT, self._count)
            except ValueError:  # not the main thread
                self._previous = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        for descriptor in (self._reader, self._writer):
            os.close(descriptor)

    def fileno(self) -> int:
        """A descriptor that is readable when there was a SIGINT since the last `clear`."""
        return self._reader

    def clear(self) -> None:
        """Make `fileno` unreadable until the next SIGINT."""
        try:
            while os.read(self._reader, 64):
                pass
        except BlockingIOError:
            return

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        os.write(self._writer, b"\0")
