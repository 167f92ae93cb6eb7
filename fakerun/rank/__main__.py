"""`python -m fakerun.rank JOB_FILE SOCKET_FD`: the fork server. Loads torch once, then forks a process for every rank that it is asked for.

One message at a time comes on the socket (of the kind that keeps messages apart), each a JSON object, and each is answered by one:

{"start": rank, "environment": {...}} with four descriptors: the rank's control pipe, its connection
to the other ranks, stdout and stderr -> {"pid": ...}
{"reap": pid} -> {"status": ...}, as `subprocess` gives it; until then the process keeps its number

When the socket ends, fakerun is gone or has no more ranks, and the server ends; the ranks have pipes of their own to tell.
"""

import gc
import importlib
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from fakerun.job.codec import decode_job
from fakerun.rank.mailbox import ConnectedMailbox
from fakerun.rank.native_log import native_warnings_silenced
from fakerun.rank.process import run_rank
from fakerun.records.codec import encode_rank
from fakerun.records.run import RankRecord

_LARGEST_MESSAGE = 1 << 20
_DESCRIPTORS = 4


def main() -> None:
    """Serve until the socket ends."""
    job_file, descriptor = sys.argv[1:]
    _make_validators(Path(job_file))
    _load()
    with socket.socket(fileno=int(descriptor)) as requests:
        requests.set_inheritable(False)
        while True:
            data, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_MESSAGE, _DESCRIPTORS)
            if not data:
                return
            requests.send(json.dumps(_answer(json.loads(data), descriptors, Path(job_file), requests)).encode())


def _load() -> None:
    """Import what every rank needs. What goes wrong here goes wrong in every rank again, and is recorded there."""
    with native_warnings_silenced(), suppress(Exception):
        importlib.import_module("fakerun.rank.simulation")
    gc.collect()
    gc.freeze()  # ranks share these pages for as long as nobody, the garbage collector included, writes to them


def _make_validators(job_file: Path) -> None:
    """Pydantic makes them when something is first read or written, which takes 50 ms: here, and not in every rank."""
    with suppress(Exception):  # a job that cannot be read is told by the ranks
        decode_job(job_file.read_bytes())
        encode_rank(RankRecord(rank=0))


def _answer(request: dict[str, Any], descriptors: list[int], job_file: Path, requests: socket.socket) -> dict[str, int]:
    if "reap" in request:
        _, status = os.waitpid(request["reap"], 0)
        return {"status": os.waitstatus_to_exitcode(status)}
    pid = os.fork()
    if pid == 0:
        requests.close()
        _become(request, descriptors, job_file)
    for each in descriptors:
        os.close(each)
    return {"pid": pid}


def _become(request: dict[str, Any], descriptors: list[int], job_file: Path) -> None:
    """In the child: be the rank, in a session of its own, with its own environment and output."""
    control, connection, stdout, stderr = descriptors
    os.setsid()
    for descriptor, standard in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.update(request["environment"])
    run_rank(job_file, request["start"], control, ConnectedMailbox(connection))


if __name__ == "__main__":
    main()
