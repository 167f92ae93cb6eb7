"""`python -m fakerun.rank SOCKET_FD`: a fork server. Loads torch once, then forks a process for each rank of each job that it is asked for.

The socket keeps messages apart; each is a JSON object. The server sends one when torch is loaded, {}, then answers each request with one:

{"job_file": ..., "rank": ..., "directory": ..., "environment": {...}, "unset": [...]} with four descriptors: the rank's control pipe, its
connection to the other ranks, stdout and stderr -> {"pid": ...}. The environment is what differs from the server's own.
{"reap": pid} -> {"status": ...}, as in `subprocess`; until then the process keeps its id

The server ends when the socket is closed: the launcher is gone, or has no more ranks. Each rank has a pipe of its own that ends too.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from fakerun.job.codec import load_job_validator
from fakerun.rank.mailbox import ConnectedMailbox
from fakerun.rank.native_log import native_warnings_silenced
from fakerun.rank.process import run_rank
from fakerun.records.codec import encode_rank
from fakerun.records.run import RankRecord

_LARGEST_MESSAGE = 1 << 20
_DESCRIPTORS = 4


def main() -> None:
    """Serve until the socket ends."""
    (descriptor,) = sys.argv[1:]
    # A rank can be sent a Ctrl-C as soon as it is forked; it must not meet it before it can write a record.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _load()
    with socket.socket(fileno=int(descriptor)) as requests:
        requests.set_inheritable(False)
        requests.send(b"{}")
        while True:
            data, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_MESSAGE, _DESCRIPTORS)
            if not data:
                return
            requests.send(json.dumps(_answer(json.loads(data), descriptors, requests)).encode())


def _load() -> None:
    """Import what every rank needs. What goes wrong here goes wrong in every rank again, and is recorded there."""
    with suppress(Exception):  # pydantic builds validators when they are first used, which takes 50 ms: once here, not in every rank
        load_job_validator()
        encode_rank(RankRecord(rank=0))
    with native_warnings_silenced(), suppress(Exception):
        importlib.import_module("fakerun.rank.simulation").prepare_forks()
    gc.collect()
    gc.freeze()  # ranks share these pages as long as nothing, the garbage collector included, writes to them


def _answer(request: dict[str, Any], descriptors: list[int], requests: socket.socket) -> dict[str, int]:
    if "reap" in request:
        _, status = os.waitpid(request["reap"], 0)
        return {"status": os.waitstatus_to_exitcode(status)}
    pid = os.fork()
    if pid == 0:
        requests.close()
        _become_rank(request, descriptors)
    for each in descriptors:
        os.close(each)
    return {"pid": pid}


def _become_rank(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """In the child: become the rank, in a session of its own, with its own directory, environment and output."""
    control, connection, stdout, stderr = descriptors
    os.setsid()
    for descriptor, standard in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(request["directory"])
    for name in request["unset"]:
        os.environ.pop(name, None)
    os.environ.update(request["environment"])
    job_file = Path(request["job_file"])
    run_rank(job_file, request["rank"], control, ConnectedMailbox(connection, job_file.parent))


if __name__ == "__main__":
    main()
