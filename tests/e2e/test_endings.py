"""How a run ends that something kills: the report holds what was recorded until then."""

import json
from pathlib import Path

from tests.commands import fakerun

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
