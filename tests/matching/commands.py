"""Runs programs under `fakerun --ranks all`, and reads the report."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.records.store import RecordStore

REPOSITORY = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "forked_command.py"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The exit status of the command, its stderr, the report's findings, and the records of all ranks."""

    status: int
    stderr: str
    findings: tuple[Finding, ...]
    ranks: tuple[RankRecord, ...]


class Commands:
    """Runs commands in sequence."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def verdict(self, program: Path, world_size: int) -> Verdict:
        """The verdict on all ranks of a program, which runs to its end."""
        return self.run(program.name, "--world-size", str(world_size), "--steps", "1000", cwd=program.parent)

    def run(self, *args: str, cwd: Path = REPOSITORY) -> Verdict:
        """The verdict on all ranks of a script, the first argument."""
        with TemporaryDirectory() as directory:
            run, stdout, stderr = (Path(directory, name) for name in ("run", "stdout", "stderr"))
            options = ("--ranks", "all", "--format", "json", "--run-dir", str(run))
            status = self._run([args[0], *options, *args[1:]], cwd, stdout, stderr)
            errors = stderr.read_text()
            report = json.loads(stdout.read_text() or "{}")
            assert "findings" in report, f"fakerun {' '.join(args)} ended with {status}:\n{errors}"
            findings = tuple(map(_finding, report["findings"]))
            return Verdict(status=status, stderr=errors, findings=findings, ranks=RecordStore(run).read_run().ranks)

    def _run(self, args: list[str], cwd: Path, stdout: Path, stderr: Path) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"args": args, "cwd": str(cwd), "stdout": str(stdout), "stderr": str(stderr)}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return int(json.loads(self._server.stdout.readline())["status"])


@contextmanager
def commands() -> Iterator[Commands]:
    """Run commands from one process, which ends with the block."""
    with subprocess.Popen([sys.executable, "-P", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Commands(server)


def _finding(document: dict[str, Any]) -> Finding:
    where = document["call_site"]
    return Finding(
        code=FindingCode(document["code"]),
        message=document["message"],
        ranks=tuple(document["ranks"]),
        call_site=where and CallSite(where["path"], where["line"], where["function"]),
        hint=document["hint"],
    )
