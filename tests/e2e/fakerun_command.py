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
    """A rank that succeeded: its part of the JSON report, and the record that the report is built from."""

    report: dict[str, Any]
    record: RankRecord


def fakerun(*args: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "fakerun", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


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
