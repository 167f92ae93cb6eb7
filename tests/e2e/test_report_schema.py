"""Reports of real runs conform to the published schema."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.commands import REPOSITORY, fakerun

SCHEMA = REPOSITORY / "docs" / "schema" / "report.schema.json"

TRAINING = """import os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(rank)
dist.init_process_group("nccl")
model = DistributedDataParallel(torch.nn.Linear(8, 8, device="cuda"))
optimizer = torch.optim.Adam(model.parameters())
for step in range(2):
    model(torch.ones(2, 8, device="cuda")).sum().backward()
    if "--fail" in sys.argv and rank == 1:
        raise ValueError("no")
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.mark.parametrize(("arguments", "exit_code"), [((), 0), (("--", "--fail"), 3)], ids=["trains", "fails"])
def test_the_report_of_a_run(tmp_path: Path, arguments: tuple[str, ...], exit_code: int) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    result = fakerun("train.py", "--world-size", "2", "--ranks", "all", "--format", "json", *arguments, cwd=tmp_path)
    assert result.returncode == exit_code, result.stderr
    report = json.loads(result.stdout)
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(report)
    assert [len(rank["collectives"]) > 1 for rank in report["ranks"]] == [True, True]
    assert [rank["failure"] is not None for rank in report["ranks"]] == [False, bool(arguments)]
