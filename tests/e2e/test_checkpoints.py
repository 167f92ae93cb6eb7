"""Checkpoints that are not written: every rank finds and loads what another rank saved, as on a cluster; through the command."""

import json
from pathlib import Path
from typing import Any

from tests.commands import REPOSITORY, fakerun
from tests.oracles.torchrun import torchrun_that_forks

PROGRAMS = REPOSITORY / "tests" / "programs"
FILES = str(PROGRAMS / "checkpoint_files.py")
SIZE = 3
MIB = 2**20


def report_of(*arguments: str, expected: int = 0) -> dict[str, Any]:
    result = fakerun("--format", "json", *arguments)
    assert result.returncode == expected, result.stdout + result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def on_devices(report: dict[str, Any]) -> dict[int, list[tuple[float, list[int]]]]:
    """By CUDA index, how many MiB of which ranks."""
    return {
        device["cuda_index"]: [(each["peak_allocated_bytes"] / MIB, each["ranks"]) for each in device["contributions"]]
        for device in report["devices"]
    }


def checkpoints_from_before(directory: Path) -> dict[str, str]:
    directory.mkdir()
    for step in (1, 2):
        (directory / f"step-{step}.pt").write_text("of an earlier run")
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_ranks_see_the_files_that_real_ranks_see(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    checkpoints_from_before(runs)
    real = torchrun_that_forks(SIZE, "--tee", "3", FILES, str(runs))
    assert real.returncode == 0, real.stderr
    for path in sorted(runs.rglob("*"), reverse=True):
        (path.rmdir if path.is_dir() else path.unlink)()
    runs.rmdir()
    before = checkpoints_from_before(runs)
    # One rank works at a time, so that each meets the others' files much later or earlier than on a cluster.
    dry = fakerun("--nproc-per-node", str(SIZE), "--ranks", "all", "--jobs", "1", "--run-dir", str(tmp_path / "run"), FILES, str(runs))
    assert dry.returncode == 0, dry.stderr
    for rank in range(SIZE):
        prefix = f"[default{rank}]:"
        lines = [line.removeprefix(prefix) for line in real.stdout.splitlines() if line.startswith(prefix)]
        assert lines
        assert (tmp_path / "run" / f"rank-{rank:05}" / "stdout.log").read_text().splitlines() == lines
    assert {path.name: path.read_text() for path in runs.glob("*.pt")} == before
    assert {str(path.relative_to(runs)) for path in runs.rglob("*")} == {*before, "sharded", "sharded/config.json"}


def test_every_rank_loads_what_rank_0_saved_onto_the_device_of_rank_0(tmp_path: Path) -> None:
    report = report_of("--nproc-per-node", "3", "--ranks", "all", str(PROGRAMS / "rank0_saves_all_load.py"), str(tmp_path / "model.pt"))
    # Weights and gradient buckets on each rank's own device, and each rank's copy of the checkpoint on the first.
    model_mib = {rank: mib for device in on_devices(report).values() for mib, ranks in device for rank in ranks if device}
    assert set(model_mib) == {0, 1, 2}
    assert [ranks for _, ranks in on_devices(report)[0]] == [[0], [1, 2]]
    assert on_devices(report)[0][1][0] == 4
    assert list(tmp_path.iterdir()) == []


def test_the_rank_that_saved_is_simulated_too(tmp_path: Path) -> None:
    report = report_of("--nproc-per-node", "4", "--rank", "1", str(PROGRAMS / "rank0_saves_all_load.py"), str(tmp_path / "model.pt"))
    assert [rank["rank"] for rank in report["ranks"]] == [0, 1]


def test_a_rank_finds_its_checkpoint_whole(tmp_path: Path) -> None:
    report_of("--nproc-per-node", "4", str(PROGRAMS / "checkpoint_waited_for.py"), str(tmp_path / "checkpoint"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_rank_saves_that_is_not_simulated_is_named_as_the_cause(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    before = checkpoints_from_before(runs)
    result = fakerun("--nproc-per-node", str(SIZE), "--rank", "2", FILES, str(runs))
    assert result.returncode == 4, result.stdout
    assert "which no simulated rank has saved, is not emulated" in " ".join(result.stdout.split())
    assert {path.name: path.read_text() for path in runs.iterdir()} == before


def test_a_rank_removes_what_another_rank_made_and_nothing_else(tmp_path: Path) -> None:
    directory, run = tmp_path / "files", tmp_path / "run"
    directory.mkdir()
    (directory / "from-before").touch()
    result = fakerun(
        *("--nproc-per-node", "2", "--ranks", "all", "--run-dir", str(run)), str(PROGRAMS / "clear_directory.py"), str(directory)
    )
    assert result.returncode == 0, result.stderr
    assert (run / "rank-00001" / "stdout.log").read_text() == "[]\n"
    assert sorted(path.name for path in directory.rglob("*")) == ["from-before", "of-another-program"]
    assert not (run / "unwritten" / "made").exists()
