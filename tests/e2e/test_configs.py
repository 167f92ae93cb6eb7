"""Every job in configs/ runs unchanged, and the command line overrides the file."""

import json
from pathlib import Path

import pytest
import yaml

from tests.commands import REPOSITORY, fakerun

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))

SMALLER = {
    "llama3_70b_4d": ("--model", "small", "--seq-len", "64", "--microbatches", "4"),
    "llama3_405b_16k": ("--model", "1b", "--seq-len", "64"),
}
"""Arguments for jobs that take minutes: the script gets them after the file's own, and the last one counts."""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_a_config_runs_as_it_is(config: Path, tmp_path: Path) -> None:
    result = fakerun("--run-dir", str(tmp_path / "run"), "--format", "json", str(config), *SMALLER.get(config.stem, ()), cwd=tmp_path)
    assert (result.returncode, result.stderr.count("error")) == (0, 0), result.stderr
    report, asked = json.loads(result.stdout), yaml.safe_load(config.read_text())
    assert report["job"]["world_size"] == asked["world_size"]
    assert report["job"]["mesh"] == asked["mesh"]
    assert report["job"]["hardware"] == asked["hardware"]
    rank = report["ranks"][0]  # a stage of a pipeline has its neighbours simulated, too
    assert (rank["rank"], rank["status"], rank["steps"]) == (0, "ok", asked["steps"])
    assert rank["collectives"]
    assert 0 < rank["memory"]["peak_allocated_bytes"] < rank["memory"]["usable_bytes"]


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = REPOSITORY / "configs" / "llama3_8b_tp_fsdp.yaml"
    options = ("--rank", "3", "--steps", "1", "--hardware", "l4", "--format", "json", "--run-dir", str(tmp_path / "run"))
    result = fakerun("run", str(config), *options, "--", "--model", "debug", "--seq-len", "32")
    report = json.loads(result.stdout)
    assert (result.returncode, report["job"]["hardware"], report["job"]["steps"]) == (0, "l4", 1)
    (rank,) = report["ranks"]
    assert (rank["rank"], rank["coordinate"]) == (3, {"dp": 0, "tp": 3})
