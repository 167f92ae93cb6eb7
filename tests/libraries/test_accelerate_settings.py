"""What `fakerun init --from` writes of an accelerate configuration is what accelerate's own launcher passes to the ranks."""

import os
from pathlib import Path

import pytest

from fakerun.job.importers.kinds import imported_jobs
from fakerun.job.importers.source import read_source

FILES = Path(__file__).parents[1] / "unit" / "launcher_files"
CONFIGS = (
    "accelerate_ddp.yaml",
    "accelerate_fsdp2.yaml",
    "accelerate_templates_fsdp.yaml",
    "accelerate_templates_multi_node.yaml",
    "accelerate_tp_hsdp.yaml",
    "alignment_handbook_fsdp.yaml",
)
NOT_WRITTEN = {"OMP_NUM_THREADS", "ACCELERATE_MIXED_PRECISION"}
"""The launcher counts the machine's cores; and it says `no` where the file says nothing, which accelerate takes anyway."""


@pytest.mark.parametrize("name", CONFIGS)
def test_the_variables_are_the_launchers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = pytest.importorskip("accelerate.commands.launch")
    from accelerate.utils.launch import prepare_multi_gpu_env

    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda _port: False)
    args = launch.launch_command_parser().parse_args(["--config_file", str(FILES / name), "train.py"])
    args, *_ = launch._validate_launch_command(args)
    passed = {key: value for key, value in prepare_multi_gpu_env(args).items() if os.environ.get(key) != value}
    written = dict(imported_jobs(read_source(FILES / name))[0].env)
    ours = {key for key in passed if key.startswith(("FSDP_", "PARALLELISM_CONFIG_", "ACCELERATE_USE_"))}
    assert {key: written.get(key) for key in ours} == {key: passed[key] for key in ours}
    assert written.keys() - NOT_WRITTEN <= passed.keys()
    assert written.get("ACCELERATE_MIXED_PRECISION", "no") == passed["ACCELERATE_MIXED_PRECISION"]
