"""Runs programs under `fakerun --ranks all`, and reads the report."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.records.store import RecordStore
from tests.commands import REPOSITORY, fakerun


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The exit status of the command, its stderr, the report's findings, and the records of all ranks."""

    status: int
    stderr: str
    findings: tuple[Finding, ...]
    ranks: tuple[RankRecord, ...]


def verdict_on(program: Path, world_size: int) -> Verdict:
    """The verdict on all ranks of a program, which runs to its end."""
    return verdict_of(program.name, "--world-size", str(world_size), "--steps", "1000", cwd=program.parent)


def verdict_of(*args: str, cwd: Path = REPOSITORY) -> Verdict:
    """The verdict on all ranks of a script, the first argument."""
    with TemporaryDirectory() as directory:
        kept = Path(directory, "run")
        result = fakerun(args[0], "--ranks", "all", "--format", "json", "--run-dir", str(kept), *args[1:], cwd=cwd)
        report = json.loads(result.stdout or "{}")
        assert "findings" in report, f"fakerun {' '.join(args)} ended with {result.returncode}:\n{result.stderr}"
        findings = tuple(map(_finding, report["findings"]))
        return Verdict(status=result.returncode, stderr=result.stderr, findings=findings, ranks=RecordStore(kept).read_run().ranks)


def _finding(document: dict[str, Any]) -> Finding:
    where = document["call_site"]
    return Finding(
        code=FindingCode(document["code"]),
        message=document["message"],
        ranks=tuple(document["ranks"]),
        call_site=where and CallSite(where["path"], where["line"], where["function"]),
        hint=document["hint"],
    )
