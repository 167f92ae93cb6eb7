"""The rank in the program's variables and arguments, as the launcher gives them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.job.launcher import Launcher
from fakerun.launch.environment import worker_environment
from fakerun.rank.script import Program
from tests.in_process import simulation_of
from tests.rank_functions import text_of

RANK = 21


def test_variables_and_arguments_of_ranks_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another launcher, the job's own, and the arguments, in all forms in which argparse takes them."""
    text = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--one", type=int)
parser.add_argument("--other", type=int)
options = parser.parse_args()
options.one == 3
options.other == 4
int(os.environ["SLURM_PROCID"]) == 5
os.environ["SLURMD_NODENAME"] == "node1"
os.environ["MINE"] == "part-6-of-64"
"""
    (tmp_path / "options.py").write_text(text)
    arguments = ("--one=${local_rank}", "--other", "${local_rank}")
    own = {"MINE": "part-${rank}-of-64"}
    simulation, job = simulation_of(RANK, nnodes=8, nproc_per_node=8, auto_ranks=True, ranks=(), launcher=Launcher.SLURM, env=own)
    job = replace(job, module=None, script=tmp_path / "options.py", args=arguments)
    for name, value in worker_environment(job, RANK, inherited={}, error_file=tmp_path / "error.json").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "orig_argv", [])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    with simulation:
        Program.of(job, RANK).run()
        tests = [text_of(test.function) for test in simulation.seen().rank_tests]
    assert tests == ["local_rank == 3", "local_rank == 4", "rank == 5", "node_rank == 1", "rank == 6"]
