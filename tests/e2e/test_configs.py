"""Every single job in configs/ runs, the large ones at a smaller size, and the command line overrides the file."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fakerun.mesh import Mesh
from tests.commands import REPOSITORY, fakerun

CONFIGS = sorted(path for path in (REPOSITORY / "configs").glob("*.yaml") if path.name != "fakerun.yaml")


@dataclass(frozen=True, kw_only=True)
class Smaller:
    """A job with fewer stages of a pipeline: each stage is simulated, and works on as many microbatches as there are stages.

    The script gets `args` after the file's own, and the last one counts.
    """

    mesh: dict[str, int]
    args: tuple[str, ...]


SMALLER = {
    "llama3_70b_4d": Smaller(
        mesh={"pp": 2, "dp": 4, "cp": 2, "tp": 4}, args=("--model", "small", "--seq-len", "64", "--pp", "2", "--microbatches", "2")
    ),
    "llama3_405b_16k": Smaller(
        mesh={"pp": 2, "dp": 1024, "cp": 1, "tp": 8}, args=("--model", "1b", "--seq-len", "64", "--pp", "2", "--microbatches", "2")
    ),
}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_a_config_runs_as_it_is(config: Path, tmp_path: Path) -> None:
    smaller = SMALLER.get(config.stem)
    mesh = () if smaller is None else ("--mesh", str(Mesh.of(smaller.mesh)))
    args = () if smaller is None else smaller.args
    result = fakerun("--run-dir", str(tmp_path / "run"), "--format", "json", *mesh, str(config), *args, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("error")) == (0, 0), result.stderr
    report, asked = json.loads(result.stdout), yaml.safe_load(config.read_text())
    assert report["job"]["world_size"] == asked["world_size"]
    assert report["job"]["mesh"] == (asked["mesh"] if smaller is None else smaller.mesh)
    assert report["job"]["hardware"] == asked["hardware"]
    rank = report["ranks"][0]  # a stage of a pipeline has its neighbours simulated, too
    assert (rank["rank"], rank["status"], rank["steps"]) == (0, "ok", asked["steps"])
    assert rank["collectives"]
    assert 0 < rank["memory"]["peak_allocated_bytes"] < rank["memory"]["usable_bytes"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_the_arguments_of_a_config_fit_its_mesh(config: Path) -> None:
    """Also of those that are run with others."""
    asked = yaml.safe_load(config.read_text())
    mesh, args = asked["mesh"], dict(zip(asked["args"][::2], asked["args"][1::2], strict=True))
    sizes = {axis: args[f"--{axis}"] for axis in mesh if f"--{axis}" in args}
    assert sizes == {axis: size for axis, size in mesh.items() if axis != "dp" and size > 1}
    assert args.get("--microbatches", 1) >= mesh.get("pp", 1)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = REPOSITORY / "configs" / "llama3_8b_tp_fsdp.yaml"
    options = ("--rank", "3", "--steps", "1", "--hardware", "l4", "--format", "json", "--run-dir", str(tmp_path / "run"))
    result = fakerun("run", str(config), *options, "--", "--model", "debug", "--seq-len", "32")
    report = json.loads(result.stdout)
    assert (result.returncode, report["job"]["hardware"], report["job"]["steps"]) == (0, "l4", 1)
    (rank,) = report["ranks"]
    assert (rank["rank"], rank["coordinate"]) == (3, {"dp": 0, "tp": 3})
