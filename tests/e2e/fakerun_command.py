"""Runs the real `fakerun` command for tests, and reads its report and its run directory."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fakerun.records.codec import decode_rank
from fakerun.records.run import RankRecord

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class Dry:
    """A run of one rank that succeeded: its JSON report, and the record that the report was made from."""

    report: dict[str, Any]
    record: RankRecord


def fakerun(*words: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """The command as a user types it."""
    command = [sys.executable, "-m", "fakerun", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@cache
def dry_run(*words: str) -> Dry:
    """Run it; the same run asked for again in this process is not run again."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        result = fakerun("--run-dir", str(run), "--format", "json", *words)
        (rank,) = run.glob("rank-*")
        if result.returncode != 0:
            said = "\n".join(path.read_text() for path in (rank / "stderr.log", rank / "unpeeled_traceback.txt") if path.exists())
            raise AssertionError(f"fakerun {' '.join(words)} ended with {result.returncode}:\n{result.stderr}\n{said}")
        record = rank / "record.json.gz"
        return Dry(report=json.loads(result.stdout), record=decode_rank(record.read_bytes(), source=str(record)))
