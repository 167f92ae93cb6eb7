"""How a run ends that something kills: the report holds what was recorded until then."""

import json
import subprocess
import sys
from pathlib import Path

from tests.commands import TIMEOUT_S, fakerun

KILLED = """
import os, signal, torch
import torch.distributed as dist

rank = int(os.environ["RANK"])
torch.cuda.set_device(rank)
dist.init_process_group("nccl")
x = torch.ones(1024, device="cuda")
dist.all_reduce(x)
torch.ones(256, device="cuda")
os.kill(os.getpid(), (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM)[rank])
"""


def test_what_was_recorded_until_a_rank_was_killed(tmp_path: Path) -> None:
    """Four ranks, each by another signal."""
    (tmp_path / "train.py").write_text(KILLED)
    result = fakerun("--nproc-per-node", "4", "--ranks", "all", "--format", "json", "--run-dir", "run", "train.py", cwd=tmp_path)
    assert result.returncode == 3, result.stdout + result.stderr
    ranks = json.loads(result.stdout)["ranks"]
    assert [rank["failure"]["message"].split()[2] for rank in ranks] == ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"]
    for rank in ranks:
        assert [call["op"] for call in rank["collectives"]] == ["all_reduce"]
        assert rank["memory"]["peak_allocated_bytes"] == 4096 + 1024
    assert not list((tmp_path / "run").glob("rank-*/journal"))
    assert result.stderr.splitlines()[-1].startswith("fakerun: run directory: ")


def test_a_run_directory_with_no_room_is_named_in_one_line(tmp_path: Path) -> None:
    """No file may be larger than 1 KiB, the run's own among them."""
    (tmp_path / "train.py").write_text("print('it works')\n")
    command = f"ulimit -f 1; {sys.executable} -m fakerun --world-size 4 --ranks all -q --run-dir run train.py"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        result.stderr
        == f"fakerun: error: run directory {tmp_path / 'run'}: File too large; raise the limit (ulimit -f), and remove this one\n"
    )
    assert (tmp_path / "run").is_dir()
