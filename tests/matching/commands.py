"""Runs programs of this suite under `fakerun --ranks all`, and reads what the report says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fakerun.records.finding import Finding, Severity

SERVER = Path(__file__).parent / "forked_command.py"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the command ended, and the report's findings that are more than notes."""

    status: int
    findings: tuple[Finding, ...]
    said: str


class Commands:
    """Commands, one after the other."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def verdict(self, program: Path, world_size: int) -> Verdict:
        """That of all ranks of a program, which runs to its end."""
        words = ["--nproc-per-node", str(world_size), "--ranks", "all", "--steps", "1000", "--format", "json", program.name]
        with TemporaryDirectory() as directory:
            stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
            status = self._run(words, program.parent, stdout, stderr)
            said = stderr.read_text()
            report = json.loads(stdout.read_text() or "{}")
        assert "findings" in report, f"fakerun {' '.join(words)} ended with {status}:\n{said}"
        return Verdict(status=status, findings=tuple(map(_finding, report["findings"])), said=said)

    def _run(self, words: list[str], cwd: Path, stdout: Path, stderr: Path) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"words": words, "cwd": str(cwd), "stdout": str(stdout), "stderr": str(stderr)}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return int(json.loads(self._server.stdout.readline())["status"])


@contextmanager
def commands() -> Iterator[Commands]:
    """Run commands from one process, which ends with the block."""
    with subprocess.Popen([sys.executable, "-P", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Commands(server)


def _finding(said: dict[str, object]) -> Finding:
    return Finding(**{**said, "severity": Severity(str(said["severity"])), "ranks": tuple(said["ranks"])})  # type: ignore[arg-type]
