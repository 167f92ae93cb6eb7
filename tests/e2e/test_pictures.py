"""The command writes pictures of memory: on a run, of a kept one, and not to a terminal."""

import os
import pickle
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.commands import fakerun

SCRIPT = ("scripts/train_ddp.py", "--world-size", "2")
ARGUMENTS = ("--", "--model", "debug", "--seq-len", "32")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, whose run also wrote `run.pickle` beside it."""
    directory = tmp_path_factory.mktemp("pictures")
    result = fakerun(*SCRIPT, "--run-dir", str(directory / "run"), "-o", str(directory / "run.pickle"), *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    return directory / "run"


def test_a_run_and_its_record_have_the_same_snapshot(kept: Path, tmp_path: Path) -> None:
    output = tmp_path / "memory.pickle"
    assert fakerun("report", str(kept), "--format", "memory_snapshot", "-o", str(output)).returncode == 0
    assert output.read_bytes() == kept.with_name("run.pickle").read_bytes()
    snapshot = pickle.loads(output.read_bytes())
    parameters = [entry for entry in snapshot["device_traces"][0] if entry["action"] == "alloc" and entry["category"] == "parameter"]
    assert {frame["filename"] for entry in parameters for frame in entry["frames"][:1]} == {"scripts/train_ddp.py"}


def test_a_picture_of_a_kept_run(kept: Path, tmp_path: Path) -> None:
    output = tmp_path / "memory.svg"
    assert fakerun("report", str(kept), "-o", str(output)).returncode == 0
    words = [each.text or "" for each in ElementTree.fromstring(output.read_text()).iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "scripts/train_ddp.py --model debug --seq-len 32"
    assert {"step 0", "step 1", "parameter", "optimizer state"} <= {*words}
    assert fakerun("report", str(kept), "--format", "svg").stdout == output.read_text()


def test_a_snapshot_is_not_written_to_a_terminal(kept: Path) -> None:
    ours, terminal = os.openpty()
    try:
        result = fakerun("report", str(kept), "--format", "memory_snapshot", "-o", os.ttyname(terminal))
    finally:
        os.close(ours)
        os.close(terminal)
    assert result.returncode == 2
    assert "format memory_snapshot is binary and is not written to a terminal" in result.stderr
    assert "-o memory_snapshot.pickle" in result.stderr
