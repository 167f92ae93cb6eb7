"""Rank processes: the fork server that makes them, and for each waiting for it, asking it to stop, and leaving nothing of it behind.

The protocol with the fork server is told in `fakerun.rank`. A rank leaves `record.json.gz` in its directory; `RankFiles` names what
else. One word on its control pipe (a `StopReason`, as `FailureKind` spells it) asks it to write its record and end; the end of the pipe
means that fakerun is gone. Through its connection it talks to the other ranks (`fakerun.launch.mailbox`). What the record says is none
of this module's business.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from fakerun.launch.run_directory import RankFiles
from fakerun.records.run import FailureKind

_LARGEST_ANSWER = 1 << 10

StopReason: TypeAlias = Literal[FailureKind.TIMEOUT, FailureKind.INTERRUPTED]
"""Why fakerun asks a rank to stop."""


class ServerDiedError(Exception):
    """The fork server is gone: killed, or crashed while it loaded torch. `status` is as `subprocess` gives it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the fork server ended with status {status}")
        self.status = status


class RankServer:
    """A process with torch loaded that forks the ranks: torch is loaded once, not once for each.

    It is in a session of its own: the terminal's Ctrl-C does not reach it. It is started with the environment of a rank, because torch
    and Python read some of it while they load; a rank is then given what is different for it.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", requests: socket.socket, environment: Mapping[str, str]) -> None:
        self._process = process
        self._requests = requests
        self._environment = environment

    @classmethod
    def start(cls, job_file: Path, environment: Mapping[str, str], log: Path) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P: the working directory must not shadow what fakerun imports; the rank then sets sys.path as Python would for the script.
        # -u: as torchrun starts its workers, and what makes the output live.
        command = [sys.executable, "-P", "-u", "-m", "fakerun.rank", str(job_file), str(theirs.fileno())]
        with theirs, log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return cls(process, ours, environment)

    def fork(self, rank: int, files: RankFiles, environment: Mapping[str, str]) -> "RankProcess":
        """Start a rank; it begins when the server has loaded torch.

        Raises:
            ServerDiedError: the server died before, or while it did so.
        """
        own = {name: value for name, value in environment.items() if self._environment.get(name) != value}
        request = {"start": rank, "environment": own}
        with ExitStack() as stack:
            theirs, ours = os.pipe()  # only the rank inherits its end; ours stays with us, so that it closes when we die
            stack.callback(os.close, theirs)
            on_failure = stack.enter_context(ExitStack())
            on_failure.callback(os.close, ours)
            connection, their_connection = Pipe()
            stack.enter_context(their_connection)
            on_failure.enter_context(connection)
            logs = [stack.enter_context(path.open("wb")).fileno() for path in (files.stdout, files.stderr)]
            answer = self._ask(request, (theirs, their_connection.fileno(), *logs))
            on_failure.pop_all()
        return RankProcess(self, answer["pid"], ours, connection)

    def reap(self, pid: int) -> int:
        """The status of a rank that has ended or was killed, which then is no more."""
        try:
            return int(self._ask({"reap": pid})["status"])
        except ServerDiedError:  # with it went what it knew; what the rank wrote is there
            return -signal.SIGKILL

    def close(self) -> None:
        """End the server. Ranks that still run are not its business."""
        self._requests.close()
        self._process.wait()

    def _ask(self, request: Mapping[str, Any], descriptors: tuple[int, ...] = ()) -> Any:
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
            answer = self._requests.recv(_LARGEST_ANSWER)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            raise ServerDiedError(self._process.wait())
        return json.loads(answer)


class RankProcess:
    """A running rank, in a session of its own: the terminal's Ctrl-C does not reach it, and its whole group can be killed.

    Its output goes straight to files. A pipe would be one more thing that a slow terminal, or a grandchild that holds on to
    it, could block.
    """

    def __init__(self, server: RankServer, pid: int, control: int, connection: Connection) -> None:
        self.connection = connection
        self._server = server
        self._pid = pid
        self._control = control
        self._ended = os.pidfd_open(pid)
        self._status: int | None = None

    def fileno(self) -> int:
        """A descriptor that can be read once the rank has ended.

        The process stays unreaped, so that its id still names its group when `close` kills what is left of it.
        """
        return self._ended

    def ask(self, reason: StopReason) -> None:
        """Ask the rank to write its record, whatever the script is doing, and end."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, reason.encode())

    def interrupt(self) -> None:
        """Give the script the KeyboardInterrupt that it would get in a terminal."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGINT)

    def close(self) -> int:
        """Kill what is left of the rank and its children; the rank's status, negative for a signal."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            for descriptor in (self._control, self._ended):
                os.close(descriptor)
            self.connection.close()
            self._status = self._server.reap(self._pid)
        return self._status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
