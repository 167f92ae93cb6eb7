"""The GitHub Action on a scratch repository with two commits: what a reviewer sees of the second one."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.action_runner import Runner

TRAIN = """import os

import torch
import torch.distributed as dist

dist.init_process_group()
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
model = torch.nn.Linear(1024, 1024, device="cuda")
optimizer = torch.optim.SGD(model.parameters())
for _ in range(2):
    model(torch.ones(8, 1024, device="cuda")).sum().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    optimizer.zero_grad()
"""

JOBS = """version: 1
jobs:
  train:
    script: train.py
    world_size: 2
    ranks: all
    budgets:
      communication: {calls: 2}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository whose only commit is fine."""
    path = tmp_path / "workspace"
    path.mkdir()
    (path / "train.py").write_text(TRAIN)
    (path / "fakerun.yaml").write_text(JOBS)
    _git(path, "init", "--quiet")
    _commit(path)
    return path


def test_the_comment_is_replaced_and_the_change_is_annotated(workspace: Path, tmp_path: Path) -> None:
    runner = Runner(directory=tmp_path / "runner")
    before = runner.run(workspace)
    assert (before.exit_code, before.outputs["exit-code"]) == (0, "0"), before.log
    (comment,) = runner.comments
    assert comment.startswith("<!-- fakerun-action:fakerun -->\n<!-- fakerun:train -->\n")
    assert before.summary.startswith("<!-- fakerun:train -->\n")
    assert "::error" not in before.log

    again = TRAIN.replace("    optimizer.step()\n", "    dist.all_reduce(model.bias.grad)\n    optimizer.step()\n")
    (workspace / "train.py").write_text(again)
    _commit(workspace)
    after = runner.run(workspace)

    assert (after.exit_code, after.outputs["exit-code"]) == (1, "1"), after.log
    assert re.search(r"^::error file=train\.py,line=13,title=Over budget [^:]*::rank 0 has 3 calls in step 1, ", after.log, re.MULTILINE)
    (comment,) = runner.comments
    assert "communication.calls" in comment
    assert after.summary != before.summary
    (run,) = json.loads(Path(after.outputs["sarif"]).read_text())["runs"]
    assert [result["level"] for result in run["results"]] == ["error"]
    assert "<failure" in Path(after.outputs["junit"]).read_text()


def test_a_job_file_that_is_wrong_fails_the_step_and_writes_no_comment(workspace: Path, tmp_path: Path) -> None:
    (workspace / "fakerun.yaml").write_text("version: 1\njobs: {train: {script: missing.py}}\n")
    runner = Runner(directory=tmp_path / "runner")
    done = runner.run(workspace)
    assert (done.exit_code, done.outputs["exit-code"], done.outputs["sarif"]) == (2, "2", "")
    assert "missing.py" in done.log
    assert runner.comments == []


def test_inputs_are_words_of_the_command(workspace: Path, tmp_path: Path) -> None:
    done = Runner(directory=tmp_path / "runner").run(workspace, file="fakerun.yaml", jobs="tr* other", comment="false")
    assert done.exit_code == 2
    assert "other" in done.log


def _commit(path: Path) -> None:
    _git(path, "add", ".")
    _git(path, "-c", "user.name=Someone", "-c", "user.email=someone@example.org", "commit", "--quiet", "--message", "A change")


def _git(path: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=path, check=True, timeout=60)
