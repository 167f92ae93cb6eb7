"""Budgets of a job file, held against a run by the command, and against the kept run again."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import fakerun
from tests.e2e.test_report_schema import TRAINING

FILE = """script: train.py
world_size: 2
ranks: {ranks}
budgets:
  peak_reserved: 1GiB
  headroom: 60GiB
  communication: {{calls: 3, all_reduce: {{bytes: 1KiB}}, inter_node: {{bytes: 1KiB}}}}
  no_collectives_in: [optimizer]
  findings: {{forbid: [deadlock]}}
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAINING)
    return tmp_path


def checks(report: str) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(report)["checks"]}


def test_a_run_that_keeps_its_budgets(directory: Path) -> None:
    (directory / "job.yaml").write_text(FILE.format(ranks="all"))
    result = fakerun("job.yaml", "--run-dir", "kept", "--format", "json", cwd=directory)
    found = checks(result.stdout)
    assert result.returncode == 0, result.stderr
    assert {check["status"] for check in found.values()} == {"passed"}
    assert found["communication.calls"]["measured"] == "3 calls"  # DDP broadcasts its buckets in the second step, too
    assert found["communication.all_reduce.bytes"]["measured"] == "288 B"  # 72 float32: gradients of a linear layer of 8 x 8 and its bias
    assert found["headroom"]["source"] == "job.yaml:6"

    again = fakerun("report", "kept", "--max-memory", "1MiB", "--format", "json", cwd=directory)
    held = checks(again.stdout)
    assert again.returncode == 1
    assert (held["peak_reserved"]["status"], held["peak_reserved"]["source"]) == ("failed", "--max-memory")
    assert held["communication.calls"] == found["communication.calls"]
    assert [finding["code"] for finding in json.loads(again.stdout)["findings"]] == ["over-budget"]


def test_a_budget_that_is_not_kept_and_one_that_is_not_known(directory: Path) -> None:
    (directory / "job.yaml").write_text(FILE.format(ranks="[0]").replace("calls: 3", "calls: 2"))
    result = fakerun("job.yaml", cwd=directory)
    assert result.returncode == 1
    text = " ".join(result.stdout.split())
    assert "rank 0 has 3 calls in step 1, 1 call above the limit: communication.calls 2 calls (job.yaml:7)" in text
    assert "error over-budget" in text
    assert "peak_reserved 1.00 GiB (job.yaml:5) cannot be verified of cuda:0 of node 0: rank 1 was not simulated" in text
    assert "ranks_agree no mismatch (job.yaml:4) cannot be verified: rank 1 was not simulated" in text
