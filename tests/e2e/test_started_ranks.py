"""Scripts that start their own ranks: simulated in place, or the end of the run; never a hang."""

import json
from pathlib import Path

import pytest

from tests.commands import fakerun


def test_spawned_ranks_are_simulated() -> None:
    result = fakerun("--world-size", "4", "--ranks", "0,3", "--format", "json", "tests/programs/spawned_ranks.py", "4")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [(rank["rank"], rank["steps"], rank["stopped_at"]["line"]) for rank in report["ranks"]] == [(0, 2, 20), (3, 2, 20)]
    assert [call["device"] for call in report["ranks"][1]["collectives"] if call["op"] == "all_reduce"] == ["cuda:3"] * 2
    assert not [finding for finding in report["findings"] if finding["severity"] == "error"]


def test_another_number_of_ranks_than_the_jobs_is_refused() -> None:
    result = fakerun("--world-size", "2", "--timeout", "60", "--format", "json", "tests/programs/spawned_ranks.py", "4")
    assert result.returncode == 2, result.stderr
    (rank,) = json.loads(result.stdout)["ranks"]
    assert rank["failure"]["message"] == (
        "the script starts 4 processes that initialise torch.distributed, but the job has 2 ranks on each of its nodes and 2 in all; "
        "pass --world-size 4, or --nproc-per-node 4 for each node"
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "os.fork"])
def test_a_process_that_would_be_a_rank_ends_the_run(method: str, tmp_path: Path) -> None:
    options = ("--world-size", "2", "--timeout", "60", "--format", "json", "--run-dir", str(tmp_path / "run"))
    result = fakerun(*options, "tests/programs/processes_as_ranks.py", method)
    assert result.returncode == 4, result.stderr
    (rank,) = json.loads(result.stdout)["ranks"]
    assert rank["failure"]["kind"] == "gap"
    assert "torch.multiprocessing.spawn(function, nprocs=N)" in rank["failure"]["message"]
    (output,) = (tmp_path / "run").glob("rank-*/stdout.log")
    assert output.read_text() == "they work\n"
