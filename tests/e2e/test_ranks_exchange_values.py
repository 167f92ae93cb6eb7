"""Simulated ranks that exchange values receive what real ranks receive; missing ranks are added; a fetch without an answer ends."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fakerun_command import fakerun
from tests.oracles.torchrun import torchrun

if TYPE_CHECKING:
    from subprocess import CompletedProcess

VALUE_EXCHANGE = Path(__file__).parents[1] / "programs" / "value_exchange.py"
SIZE = 4


def printed(run_directory: Path, rank: int) -> list[str]:
    return (run_directory / f"rank-{rank:05}" / "stdout.log").read_text().splitlines()


def test_ranks_receive_what_real_ranks_receive(tmp_path: Path) -> None:
    real = torchrun(SIZE, "--tee", "3", str(VALUE_EXCHANGE))
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


@pytest.mark.parametrize(
    ("script", "ranks", "verdict"),
    [
        ("word = [rank]\ndist.recv_object_list(word, src=(rank + 1) % 4)\nprint(word)", [0, 1, 2, 3], "recv-without-send"),
        ("word = [rank]\nif rank: dist.recv_object_list(word, src=0)\nprint(word)", [1, 2, 3], "recv-without-send"),
    ],
    ids=["a cycle", "a rank that ends"],
)  # fmt: skip
def test_waiting_without_an_answer_ends(tmp_path: Path, script: str, ranks: list[int], verdict: str) -> None:
    """The script goes on with what it has, and the report says why it would not on a cluster."""
    result = run_script(tmp_path, script, "--ranks", "all")
    assert result.returncode == 1, result.stderr
    assert verdict in {finding["code"] for finding in json.loads(result.stdout)["findings"]}
    assert [printed(tmp_path / "run", rank) for rank in range(SIZE)] == [[f"[{rank}]"] for rank in range(SIZE)]
    unknown_objects = [finding for finding in json.loads(result.stdout)["findings"] if finding["code"] == "unknown-object"]
    assert sorted(rank for finding in unknown_objects for rank in finding["ranks"]) == ranks


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
    alone = json.loads(run_script(tmp_path, PIPELINE, "--rank", "2", run="alone").stdout)
    assert next(rank["collectives"] for rank in alone["ranks"] if rank["rank"] == 2) == stages[2]
