"""Scripts of other launchers than torchrun."""

import json
from pathlib import Path

from tests.commands import REPOSITORY, fakerun

PROGRAM = REPOSITORY / "tests" / "programs" / "started_by_srun.py"


def test_sruns_variables_and_those_of_the_job(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"script: {PROGRAM}\nnnodes: 2\nnproc_per_node: 4\nlauncher: slurm\nenv: {{OF_RANK: '${{rank}}'}}\n")
    result = fakerun(str(job), "--rank", "6", "--format", "json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["job"]["launcher"] == "slurm"
    (call,) = report["ranks"][0]["collectives"]
    assert (call["group_size"], call["device"], call["input_sizes"]) == (8, "cuda:2", [[6]])


def test_a_missing_variable_names_the_launcher_that_sets_it() -> None:
    result = fakerun("--world-size", "2", "--format", "json", str(PROGRAM))
    assert result.returncode == 3, result.stderr
    (finding,) = (each for each in json.loads(result.stdout)["findings"] if each["code"] == "other-launcher")
    assert finding["message"] == "the script reads SLURM_PROCID, which torchrun does not set."
    assert finding["hint"] == "Run it with --launcher slurm."
