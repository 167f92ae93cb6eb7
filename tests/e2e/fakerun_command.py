"""Runs the real `fakerun` command for tests, and reads its report and its run directory."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakerun.records.run import RankRecord
from fakerun.records.store import RecordStore

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class Dry:
    """A rank that succeeded: its part of the JSON report, and the record that this was made from."""

    report: dict[str, Any]
    record: RankRecord


def fakerun(*words: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """The command as a user types it."""
    command = [sys.executable, "-m", "fakerun", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def dry_run(*words: str) -> dict[int, Dry]:
    """Run it; what it says of each rank."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        result = fakerun("--run-dir", str(run), "--format", "json", *words)
        if result.returncode != 0:
            said = "\n".join(path.read_text() for name in ("stderr.log", "full_traceback.txt") for path in run.glob(f"rank-*/{name}"))
            raise AssertionError(f"fakerun {' '.join(words)} ended with {result.returncode}:\n{result.stderr}\n{said}")
        store = RecordStore(run)
        records = [record for rank in store.ranks() if (record := store.read(rank)) is not None]
        reports = json.loads(result.stdout)["ranks"]
        return {record.rank: Dry(report=report, record=record) for report, record in zip(reports, records, strict=True)}
