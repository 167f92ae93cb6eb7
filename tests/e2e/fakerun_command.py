"""Runs the real `fakerun` command for tests, and reads its report."""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 300


def fakerun(*words: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """The command as a user types it."""
    command = [sys.executable, "-m", "fakerun", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@cache
def report_of(*words: str) -> dict[str, Any]:
    """The JSON report of a run that succeeds. The same run asked for again in this process is not run again."""
    with tempfile.TemporaryDirectory() as directory:
        # With a run directory of its own a failing test leaves nothing behind, and shows the script's words.
        run = Path(directory) / "run"
        result = fakerun("--run-dir", str(run), "--format", "json", *words)
        if result.returncode != 0:
            logs = "\n".join(path.read_text() for path in sorted(run.glob("rank-*/stderr.log")))
            raise AssertionError(f"fakerun {' '.join(words)} ended with {result.returncode}:\n{result.stderr}\n{logs}")
        return json.loads(result.stdout)  # type: ignore[no-any-return]
