"""The `fakerun` command, run many times from one process that has imported torch: it forks a process for each command.

`python forked_command.py` is that process. It reads one request per line of stdin, a JSON object, and answers with one on stdout:

{"args": [...], "cwd": ..., "environment": {...}, "stdout": FILE, "stderr": FILE} -> {"status": ...}

A command does what the real one does, except that its fork server is forked too instead of started. The real command and its server take
three seconds to start, which would dominate a suite of many small programs.
"""

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

import fakerun
from fakerun.cli.app import main
from fakerun.hardware.catalogue import known_hardware
from fakerun.launch.server import ForkServer, server_environment
from fakerun.rank import __main__ as rank_server

TIMEOUT_S = 300
_PROGRAMS = (".__main__", ".plugin")
"""Modules that are not imported by the command: what `python -m` runs, and what pytest does."""


class _Forked:
    """A server process, with the methods that `ForkServer` uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class ReadyForkServer(ForkServer):
    """A fork server that has imported torch before it starts."""

    @classmethod
    def start(cls, load: Mapping[str, str]) -> Self:
        environment = server_environment(load)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = tempfile.TemporaryFile()  # noqa: SIM115 - until `close`
        pid = os.fork()
        if pid == 0:
            _close_all_but(theirs.fileno(), log.fileno())
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP):  # which the command handles, and a new process does not
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["fakerun.rank", str(theirs.detach())]
            _exit_after(rank_server.main)
        theirs.close()
        return cls(_Forked(pid), ours, environment, log)  # type: ignore[arg-type]


def serve() -> None:
    """Run commands until stdin ends."""
    _load()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(request)
        print(json.dumps({"status": _Forked(pid).wait()}), flush=True)


def _load() -> None:
    """Load what every command and every rank would load again."""
    rank_server._load()  # first: it decides what torch's C++ logs, which torch reads while it is imported
    for module in pkgutil.walk_packages(fakerun.__path__, "fakerun."):
        if not module.name.endswith(_PROGRAMS):
            importlib.import_module(module.name)
    known_hardware()
    gc.collect()
    gc.freeze()  # so that commands and ranks do not copy what they would only look at
    _of_torch.update(_descriptors())


def _run(request: Mapping[str, object]) -> None:
    signal.alarm(TIMEOUT_S)
    os.chdir(str(request["cwd"]))
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _write_to(Path(str(request["stdout"])), 1)
    _write_to(Path(str(request["stderr"])), 2)
    ForkServer.start = ReadyForkServer.start  # type: ignore[method-assign]
    args = request["args"]
    assert isinstance(args, list)
    _exit_after(lambda: main(args))


def _descriptors() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


_of_torch: set[int] = set()
"""What was open when everything was loaded."""


def _close_all_but(*kept: int) -> None:
    """Of what a command has opened, as when a process is started: a server ends when the command closes its socket, which no other
    server may hold open."""
    for descriptor in _descriptors() - _of_torch - {0, 1, 2, *kept}:
        with suppress(OSError):  # the one that listed them
            os.close(descriptor)


def _write_to(path: Path, *descriptors: int) -> None:
    with path.open("wb") as file:
        for descriptor in descriptors:
            os.dup2(file.fileno(), descriptor)


def _exit_after(function: Callable[[], int | None]) -> NoReturn:
    status = 1
    try:
        status = function() or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
