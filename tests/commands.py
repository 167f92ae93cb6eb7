"""Runs the `fakerun` command for tests.

`fakerun` forks it from a process that has imported torch (`tests/forked_command.py`), one for each worker of pytest: to start the command
and its fork server takes three seconds, which would be most of what the suite does. `started` starts it as a user does.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from fakerun.records.run import RankRecord
from fakerun.records.store import RecordStore

REPOSITORY = Path(__file__).parents[1]
SERVER = Path(__file__).parent / "forked_command.py"
TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class Dry:
    """A rank that succeeded: its part of the JSON report, and the record that the report is built from."""

    report: dict[str, Any]
    record: RankRecord


def started(*args: str, cwd: Path = REPOSITORY) -> CompletedProcess[str]:
    """Start the command as a user does, in this environment, and wait for its end."""
    command = [sys.executable, "-m", "fakerun", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def fakerun(*args: str, cwd: Path = REPOSITORY) -> CompletedProcess[str]:
    """Run the command in this environment; the ranks have the hash seed of this process."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as directory:
        stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
        request = {"args": args, "cwd": str(cwd), "environment": dict(os.environ), "stdout": str(stdout), "stderr": str(stderr)}
        print(json.dumps(request), file=server.stdin, flush=True)
        status = int(json.loads(server.stdout.readline())["status"])
        return CompletedProcess([*args], status, stdout.read_text(), stderr.read_text())


def dry_run(*args: str) -> dict[int, Dry]:
    """Run the command; the report and the record of each rank."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        result = fakerun("--run-dir", str(run), "--format", "json", *args)
        if result.returncode != 0:
            logs = "\n".join(path.read_text() for name in ("stderr.log", "full_traceback.txt") for path in run.glob(f"rank-*/{name}"))
            raise AssertionError(f"fakerun {' '.join(args)} ended with {result.returncode}:\n{result.stderr}\n{logs}")
        store = RecordStore(run)
        records = [record for rank in store.ranks() if (record := store.read(rank)) is not None]
        reports = json.loads(result.stdout)["ranks"]
        return {record.rank: Dry(report=report, record=record) for report, record in zip(reports, records, strict=True)}


@cache
def _server() -> "subprocess.Popen[str]":
    """The process that forks commands; it ends with this one, whose end closes its stdin."""
    server = subprocess.Popen([sys.executable, "-P", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    return server
