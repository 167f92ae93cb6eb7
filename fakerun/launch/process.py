"""A rank's process, as the launcher holds it: waiting for its end, stopping it, and leaving nothing of it behind.

A rank leaves `record.json.gz` in its directory; `RankFiles` names its other files. Lines on its control pipe are requests: a `StopReason`,
spelled as in `FailureKind`, to write its record and end; `POSITION_REQUEST` to say where it is. The end of the pipe means that the launcher
is gone. Through its connection it exchanges values with other ranks (`fakerun.launch.mailbox`) and answers. What the record says does not
matter here.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self, TypeAlias

from fakerun.records.position import POSITION_REQUEST
from fakerun.records.run import FailureKind

_TAIL_BYTES = 4096

StopReason: TypeAlias = Literal[FailureKind.TIMEOUT, FailureKind.INTERRUPTED, FailureKind.SIGNAL]
"""Why fakerun ends a rank. `SIGNAL`: somebody suspended it (SIGSTOP), and nobody let it go on."""


class RankProcess:
    """A running rank, in a session of its own: the terminal's Ctrl-C does not reach it, and its whole process group can be killed.

    Its output goes to files, not to pipes: a slow terminal, or a grandchild that keeps the pipe open, could block a pipe.
    """

    def __init__(self, pid: int, *, control: int, connection: Connection, reap: Callable[[int], int]) -> None:
        """`control` is the launcher's end of the control pipe; `reap` waits for a process by its id and gives its status."""
        self.connection = connection
        self._pid = pid
        self._control = control
        self._reap = reap
        self._ended = os.pidfd_open(pid)
        self._status: int | None = None

    def fileno(self) -> int:
        """A descriptor that becomes readable when the rank has ended.

        The process stays unreaped, so that its id still names its process group when `close` kills what is left of it.
        """
        return self._ended

    def ask(self, reason: StopReason) -> None:
        """Ask the rank to write its record, whatever the script is doing, and end."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, f"{reason}\n".encode())

    def ask_position(self) -> None:
        """Ask the rank where it is; it answers on its connection, if Python gets a turn in it."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, f"{POSITION_REQUEST}\n".encode())

    def interrupt(self) -> None:
        """Give the script the KeyboardInterrupt that it would get in a terminal."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGINT)

    def is_suspended(self) -> bool:
        """Whether a signal (SIGSTOP, SIGTSTP) has stopped the rank, which can then do nothing, not even end."""
        try:
            state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2]
        except OSError:
            return False
        return state.startswith("T")  # a debugger's is t

    def close(self) -> int:
        """Kill what is left of the rank and its children; the rank's status, negative for a signal."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            for descriptor in (self._control, self._ended):
                os.close(descriptor)
            self.connection.close()
            self._status = self._reap(self._pid)
        return self._status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def tail(log: BinaryIO) -> str:
    """The end of a log, from the beginning of a line."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    data = log.read()
    if size > _TAIL_BYTES:
        data = data.partition(b"\n")[2]
    return data.decode(errors="replace")
