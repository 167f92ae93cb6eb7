"""Fork servers: processes that have loaded torch and fork a process for each (job, rank). `import torch` is paid once for many jobs.

A server knows no job. Each request names the job file, the rank, its files and its environment; `fakerun.rank` describes the protocol. Some
variables are read while Python and torch load (`PYTHONPATH`, `OMP_NUM_THREADS`) and have no effect later, so tasks that differ in one of
these are forked from different servers.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fakerun.launch.environment import is_read_at_load, load_environment
from fakerun.launch.process import RankProcess, tail
from fakerun.launch.run_directory import RankFiles

_LARGEST_ANSWER = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTask:
    """One rank of one job, as a server forks it: it starts in `workdir`. `environment` is the rank's whole environment."""

    job_file: Path
    rank: int
    files: RankFiles
    workdir: Path
    environment: Mapping[str, str]


class ServerDiedError(Exception):
    """A fork server is gone: it was killed, or crashed while it loaded torch. `status` is as in `subprocess`; `log` ends its output."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(f"the fork server ended with status {status}")
        self.status = status
        self.log = log


class RankServer:
    """Forks the ranks of any number of jobs while the context is open, and starts the fork servers that this needs."""

    def __init__(self) -> None:
        self._servers: dict[frozenset[tuple[str, str]], ForkServer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the fork servers that have been started."""
        return tuple(server.pid for server in self._servers.values())

    def prepare(self, environments: Iterable[Mapping[str, str]]) -> None:
        """Start the fork servers that ranks with these environments need. They load torch at the same time; nobody waits for them here."""
        for load in map(load_environment, environments):
            key = frozenset(load.items())
            if key not in self._servers:
                self._servers[key] = ForkServer.start(load)

    def fork(self, task: RankTask, interrupts: int | None = None) -> RankProcess | None:
        """Start a rank. None if the descriptor `interrupts` became readable while torch was being loaded; the rank has not started then.

        A server that has died (a script may kill it) is replaced once.

        Raises:
            ServerDiedError: the new server died too.
        """
        load = load_environment(task.environment)
        key = frozenset(load.items())
        if key in self._servers:
            try:
                return self._servers[key].fork(task, interrupts)
            except ServerDiedError:
                self._servers.pop(key).close()
        self._servers[key] = ForkServer.start(load)
        return self._servers[key].fork(task, interrupts)


class ForkServer:
    """One process with torch loaded, in a session of its own: the terminal's Ctrl-C does not reach it."""

    def __init__(self, process: "subprocess.Popen[bytes]", requests: socket.socket, environment: Mapping[str, str], log: BinaryIO) -> None:
        """`environment` is what the process was started with; a rank is sent what differs for it."""
        self.pid = process.pid
        self._process = process
        self._requests = requests
        self._environment = environment
        self._log = log
        self._is_loaded = False

    @classmethod
    def start(cls, load: Mapping[str, str]) -> Self:
        """Start a server with fakerun's own environment, with the variables of `load` for those that matter while it loads."""
        environment = server_environment(load)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = tempfile.TemporaryFile()  # noqa: SIM115 - until `close`
        # -P: the working directory must not shadow what fakerun imports; the rank then sets sys.path as Python would for the script.
        # -u: as torchrun starts its workers; it also makes the output live.
        command = [sys.executable, "-P", "-u", "-m", "fakerun.rank", str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return cls(process, ours, environment, log)

    def fork(self, task: RankTask, interrupts: int | None) -> RankProcess | None:
        """Start a rank, when torch is loaded; None if the descriptor `interrupts` becomes readable first.

        Raises:
            ServerDiedError: the server has died.
        """
        if not self._is_loaded and not self._load(interrupts):
            return None
        with ExitStack() as stack:
            theirs, ours = os.pipe()  # only the rank inherits its end; ours stays here, so that it closes when fakerun dies
            stack.callback(os.close, theirs)
            on_failure = stack.enter_context(ExitStack())
            on_failure.callback(os.close, ours)
            connection, their_connection = Pipe()
            stack.enter_context(their_connection)
            on_failure.enter_context(connection)
            logs = [stack.enter_context(path.open("wb")).fileno() for path in (task.files.stdout, task.files.stderr)]
            answer = self._ask(self._request(task), (theirs, their_connection.fileno(), *logs))
            on_failure.pop_all()
        return RankProcess(answer["pid"], control=ours, connection=connection, reap=self._reap)

    def close(self) -> None:
        """End the server. Ranks that still run are not affected."""
        self._requests.close()
        if not self._is_loaded:  # it would end only when torch is loaded
            self._process.kill()
        self._process.wait()
        self._log.close()

    def _load(self, interrupts: int | None) -> bool:
        ready = wait_for_any([self._requests, *([interrupts] if interrupts is not None else [])])
        if self._requests not in ready:
            return False
        self._receive()
        self._is_loaded = True
        return True

    def _request(self, task: RankTask) -> Mapping[str, Any]:
        return {
            "job_file": str(task.job_file),
            "rank": task.rank,
            "directory": str(task.workdir),
            "environment": {name: value for name, value in task.environment.items() if self._environment.get(name) != value},
            "unset": [name for name in self._environment if name not in task.environment],
        }

    def _reap(self, pid: int) -> int:
        """The status of a rank that has ended or was killed."""
        try:
            return int(self._ask({"reap": pid})["status"])
        except ServerDiedError:  # what it knew is lost; what the rank wrote is there
            return -signal.SIGKILL

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> Any:
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
        except OSError as error:  # it is gone, or was closed for that
            raise self._death() from error
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._requests.recv(_LARGEST_ANSWER)
        except ConnectionResetError:
            answer = b""
        if not answer:
            raise self._death()
        return json.loads(answer)

    def _death(self) -> ServerDiedError:
        return ServerDiedError(self._process.wait(), "" if self._log.closed else tail(self._log))


def server_environment(load: Mapping[str, str]) -> dict[str, str]:
    """Fakerun's own environment, with `load` in place of the variables that are read while Python and torch load."""
    return {name: value for name, value in os.environ.items() if not is_read_at_load(name)} | dict(load)
