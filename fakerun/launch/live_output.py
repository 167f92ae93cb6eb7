"""Shows what the ranks print while they print it: each line of a rank's log files, prefixed with the rank, on fakerun's stderr."""

import codecs
import io
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

_PAUSE_S = 0.05
_CHUNK_BYTES = 1 << 16


class LiveOutput:
    """Copies lines from log files to a stream, from a thread, until closed; by then every byte was copied.

    It reads the files that the rank writes, as torchrun's tee does: the rank never waits for the display.
    """

    def __init__(self, paths: Iterable[Path], stream: TextIO, prefix: str) -> None:
        self._logs = [_GrowingLog(path, prefix) for path in paths]
        self._stream = stream
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fakerun-live-output", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._ended.wait(_PAUSE_S):
                self._copy(at_end=False)
            self._copy(at_end=True)
        except (OSError, ValueError):  # the display is gone; the files keep everything
            return

    def _copy(self, *, at_end: bool) -> None:
        for log in self._logs:
            for text in log.new_lines(at_end=at_end):
                self._stream.write(text)
        self._stream.flush()


class _GrowingLog:
    """One log file, read as it grows. A carriage return ends a line too: progress bars are shown as they move."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._offset = 0
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(errors="replace"), translate=True)
        self._unfinished = ""

    def new_lines(self, *, at_end: bool) -> Iterable[str]:
        for chunk in self._new_chunks():
            *lines, self._unfinished = (self._unfinished + self._decoder.decode(chunk)).split("\n")
            yield from map(self._marked, lines)
        if at_end:
            rest = self._unfinished + self._decoder.decode(b"", final=True)
            if rest:
                yield self._marked(rest.rstrip())

    def _marked(self, line: str) -> str:
        """A line after the rank, once: torch itself marks those of an uncaught exception in the same way."""
        return f"{line}\n" if line.startswith(self._prefix) else f"{self._prefix}{line}\n"

    def _new_chunks(self) -> Iterable[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                yield chunk
