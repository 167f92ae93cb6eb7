"""Simulated ranks that exchange values receive what real ranks receive; missing ranks are added; a fetch without an answer ends."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.commands import fakerun
from tests.oracles.torchrun import torchrun_that_forks

if TYPE_CHECKING:
    from subprocess import CompletedProcess

VALUE_EXCHANGE = Path(__file__).parents[1] / "programs" / "value_exchange.py"
SIZE = 4
NEWLINE = "\n"


def printed(run_directory: Path, rank: int) -> list[str]:
    return (run_directory / f"rank-{rank:05}" / "stdout.log").read_text().splitlines()


def test_ranks_receive_what_real_ranks_receive(tmp_path: Path) -> None:
    real = torchrun_that_forks(SIZE, "--tee", "3", str(VALUE_EXCHANGE))
    assert real.returncode == 0, real.stderr
    dry = fakerun(str(VALUE_EXCHANGE), "--world-size", str(SIZE), "--ranks", "all", "--run-dir", str(tmp_path / "run"))
    assert dry.returncode == 0, dry.stderr
    for rank in range(SIZE):
        prefix = f"[default{rank}]:"
        lines = [line.removeprefix(prefix) for line in real.stdout.splitlines() if line.startswith(prefix)]
        assert lines
        assert printed(tmp_path / "run", rank) == lines


def run_script(directory: Path, script: str, *args: str, run: str = "run") -> "CompletedProcess[str]":
    """A script of which every rank knows its number, on 4 ranks, over gloo."""
    preamble = "import torch, torch.distributed as dist\ndist.init_process_group('cpu:gloo,cuda:nccl')\nrank = dist.get_rank()\n"
    (directory / "train.py").write_text(preamble + script)
    return fakerun("train.py", "--world-size", str(SIZE), "--run-dir", run, "--format", "json", *args, cwd=directory)


def findings(result: "CompletedProcess[str]") -> list[tuple[str, list[int]]]:
    return [(finding["code"], finding["ranks"]) for finding in json.loads(result.stdout)["findings"] if finding["severity"] == "note"]


RELAY = """
if rank:
    word = [None]
    dist.recv_object_list(word, src=rank - 1)
else:
    word = ["whisper"]
word[0] += str(rank)
if rank < 3:
    dist.send_object_list(word, dst=rank + 1)
print(word[0])
"""


def test_ranks_that_are_needed_are_simulated_too(tmp_path: Path) -> None:
    result = run_script(tmp_path, RELAY, "--rank", "2")
    assert result.returncode == 0, result.stderr
    assert [printed(tmp_path / "run", rank) for rank in (0, 1, 2)] == [["whisper0"], ["whisper01"], ["whisper012"]]
    assert not (tmp_path / "run" / "rank-00003").exists()
    assert findings(result) == [("rank-added", [0]), ("rank-added", [1])]


def test_a_rank_simulated_alone_assumes_that_its_peers_match_it(tmp_path: Path) -> None:
    """What all ranks give is no reason to simulate all ranks, but it is said that the sum is made up."""
    script = "votes = torch.tensor([rank])\ndist.all_reduce(votes)\nprint(votes.item())\n"
    result = run_script(tmp_path, script, "--rank", "2")
    assert printed(tmp_path / "run", 2) == ["8"]
    assert findings(result) == [("peers-assumed", [2])]


BLOCKED: dict[str, tuple[str, dict[int, list[int]], str, list[int]]] = {
    "a cycle": (
        "dist.recv_object_list([rank], src=(rank + 1) % 4)",
        {rank: [(rank + 1) % 4] for rank in range(4)},
        "deadlock",
        [0, 1, 2, 3],
    ),
    "a rank that ends": (
        "if rank: dist.recv_object_list([rank], src=0)",
        {rank: [0] for rank in (1, 2, 3)},
        "recv-without-send",
        [0, 1, 2, 3],
    ),
    "groups in two orders": (
        "a, b = dist.new_group([0, 1]), dist.new_group([0, 1])\n"
        "for group in ((a, b) if rank else (b, a)) if rank < 2 else (): dist.all_reduce(torch.ones(1), group=group)",
        {0: [1], 1: [0]},
        "deadlock",
        [0, 1],
    ),
    "asynchronous, another call": (
        "work = dist.all_reduce(torch.ones(2 if rank == 3 else 1), async_op=True)\nwork.wait()",
        {0: [3], 1: [3], 2: [3], 3: [0, 1, 2]},
        "size-mismatch",
        [3],
    ),
}  # fmt: skip
"""The script, whom each blocked rank waits for, the code of the only error and its ranks."""


@pytest.mark.parametrize(("script", "waits", "code", "ranks"), BLOCKED.values(), ids=BLOCKED)
def test_a_rank_that_waits_for_ever_is_blocked(
    tmp_path: Path, script: str, waits: dict[int, list[int]], code: str, ranks: list[int]
) -> None:
    """It runs no further, not even its handlers, and is no failure."""
    result = run_script(
        tmp_path,
        f"try:\n    {script.replace(NEWLINE, NEWLINE + '    ')}\n    print('done')\nfinally:\n    print('ended')",
        "--ranks",
        "all",
    )
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    assert {rank["rank"]: rank["blocked"]["waits_for"] for rank in report["ranks"] if rank["status"] == "blocked"} == waits
    assert {finding["code"] for finding in report["findings"] if finding["severity"] == "error"} == {code}
    assert sorted({rank for finding in report["findings"] if finding["severity"] == "error" for rank in finding["ranks"]}) == ranks
    for rank in range(SIZE):
        assert printed(tmp_path / "run", rank) == ([] if rank in waits else ["done", "ended"])


def test_a_rank_that_fails_blocks_the_others(tmp_path: Path) -> None:
    result = run_script(
        tmp_path, "if rank == 2: raise ValueError('no data')\nvotes = torch.ones(1)\ndist.all_reduce(votes)", "--ranks", "all"
    )
    assert result.returncode == 3, result.stderr
    report = json.loads(result.stdout)
    assert [rank["status"] for rank in report["ranks"]] == ["blocked", "blocked", "failed", "blocked"]
    assert [rank["failure"] and rank["failure"]["message"] for rank in report["ranks"]] == [None, None, "no data", None]
    assert [(finding["code"], finding["ranks"]) for finding in report["findings"] if finding["severity"] == "error"] == [
        ("early-exit", [2])
    ]
    text = fakerun("report", "run", cwd=tmp_path).stdout
    assert text.index("FAILED  rank 2 at train.py:4") < text.index(
        "BLOCKED  ranks 0-1 and 3, step 0: wait for rank 2 in all_reduce float32[1]"
    )


EXCHANGE = """
import torch, torch.distributed as dist
from torch import nn
dist.init_process_group("cpu:gloo,cuda:nccl")
rank, size = dist.get_rank(), dist.get_world_size()
names = [None] * size
dist.all_gather_object(names, f"rank {rank}")
votes = torch.tensor([rank], device="cuda")
dist.all_reduce(votes)
print(names, votes.item())
word = [rank]
if rank:
    dist.recv_object_list(word, src=rank - 1)
if rank < size - 1:
    dist.send_object_list(word, dst=rank + 1)
if rank != 3:
    dist.all_gather_object(names, rank)
    print("blocked ranks do not come here")
"""


def test_the_report_does_not_depend_on_how_many_ranks_there_is_room_for(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(EXCHANGE)
    reports = []
    for jobs in (1, 2, 6):
        result = fakerun("train.py", "--world-size", "6", "--ranks", "all", "--format", "json", "--jobs", str(jobs), cwd=tmp_path)
        assert result.returncode == 1, result.stderr
        reports.append(result.stdout)
    assert reports[0].count('"status": "blocked"') == 5
    assert reports[1:] == [reports[0]] * 2


PIPELINE = """
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
device = torch.device("cuda", rank)
widths = [8, 16, 32, 64, 4]
model = nn.Linear(widths[rank], widths[rank + 1]).to(device)
schedule = Schedule1F1B(PipelineStage(model, rank, 4, device), n_microbatches=4, loss_fn=nn.functional.mse_loss)
inputs = (torch.randn(16, widths[0], device=device),) if rank == 0 else ()
schedule.step(*inputs, **{"target": torch.randn(16, widths[-1], device=device)} if rank == 3 else {})
"""


def test_a_pipeline_stage_learns_its_shapes_from_its_neighbours(tmp_path: Path) -> None:
    """Nobody gave the stages their shapes; each asks the one before, which is simulated for that."""
    together = run_script(tmp_path, PIPELINE, "--ranks", "all")
    assert together.returncode == 0, together.stderr
    stages = {rank["rank"]: rank["collectives"] for rank in json.loads(together.stdout)["ranks"]}
    sizes = [call["output_sizes"] for call in stages[2] if call["op"] == "recv" and call["dtype"] == "float32" and call["peer"] == 1]
    messages = [size for size in sizes if size != [[1]]]  # what torch 2.11 votes with
    assert messages == [[[4, 32]]] * 4
    (elsewhere := tmp_path / "alone").mkdir()
    alone = json.loads(run_script(elsewhere, PIPELINE, "--rank", "2").stdout)
    assert next(rank["collectives"] for rank in alone["ranks"] if rank["rank"] == 2) == stages[2]
