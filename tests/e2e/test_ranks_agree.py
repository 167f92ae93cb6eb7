"""The verdict through the command: a mismatch between ranks makes it fail, and the lines of both sides are named."""

import json
from pathlib import Path

import pytest

from tests.commands import fakerun
from tests.e2e.test_ranks_exchange_values import VALUE_EXCHANGE

PREAMBLE = """import torch, torch.distributed as dist
dist.init_process_group()
rank = dist.get_rank()
x = torch.ones(8, device=f"cuda:{rank}")
"""

WRONG = {
    "one rank leaves a call out": ("if rank != 2: dist.all_reduce(x)\ndist.broadcast(x, 0)", "missing-collective", [2], "train.py:6"),
    "reduce where all_reduce is meant": (
        "if rank == 3: dist.reduce(x, 0)\nelse: dist.all_reduce(x)",
        "operation-mismatch",
        [3],
        "train.py:5",
    ),
    "everybody sends first": (
        "dist.send(x, (rank + 1) % 4)\ndist.recv(x, (rank - 1) % 4)",
        "deadlock",
        [0, 1, 2, 3],
        "train.py:5",
    ),
}


@pytest.mark.parametrize(("script", "code", "ranks", "where"), WRONG.values(), ids=WRONG)
def test_ranks_that_do_not_agree(tmp_path: Path, script: str, code: str, ranks: list[int], where: str) -> None:
    (tmp_path / "train.py").write_text(PREAMBLE + script)
    result = fakerun("train.py", "--world-size", "4", "--ranks", "all", "--format", "json", cwd=tmp_path)
    errors = [finding for finding in json.loads(result.stdout)["findings"] if finding["severity"] == "error"]
    path, _, line = where.partition(":")
    assert [(error["code"], error["ranks"]) for error in errors] == [(code, ranks)]
    assert (errors[0]["call_site"]["path"], errors[0]["call_site"]["line"]) == (path, int(line))
    assert result.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        (str(VALUE_EXCHANGE), "--world-size", "4"),
        ("scripts/train_tp_fsdp.py", "--mesh", "2x2", "--", "--model", "uneven", "--seq-len", "16"),
    ],
    ids=["value exchange", "tp and fsdp"],
)
def test_ranks_that_agree(words: tuple[str, ...]) -> None:
    result = fakerun(words[0], "--ranks", "all", "--format", "json", *words[1:])
    assert result.returncode == 0, result.stdout
    assert not [finding for finding in json.loads(result.stdout)["findings"] if finding["severity"] == "error"]
