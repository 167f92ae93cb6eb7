"""One mistake in a model, in a repository: every format for CI shows it on its line, several of them written by one run."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.commands import fakerun

NET = """
import torch.distributed as dist

def synchronise(gradient):
    if dist.get_rank() == 2:
        dist.all_reduce(gradient)  # line 6
    else:
        dist.broadcast(gradient, 0)  # line 8
"""
TRAIN = """
import os, torch
import torch.distributed as dist
from net import synchronise

dist.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
synchronise(torch.ones(4, device="cuda"))
"""
OUTPUTS = {
    "junit": "report.xml",
    "sarif": "fakerun.sarif",
    "gitlab": "quality.json",
    "csv": "ranks.csv",
    "jsonl": "report.jsonl",
    "comment": "comment.md",
    "json": "report.json",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the job in `training`, where `fakerun` was run: its files, and `annotations.txt`, which went to stdout."""
    root = tmp_path_factory.mktemp("repository")
    (root / ".git").mkdir()
    training = root / "training"
    training.mkdir()
    (training / "net.py").write_text(NET)
    (training / "train.py").write_text(TRAIN)
    files = [word for name, file in OUTPUTS.items() for word in ("--output", f"{name}={file}")]
    result = fakerun("train.py", "--world-size", "4", "--ranks", "all", "--output", "github", *files, cwd=training)
    assert result.returncode == 1, result.stdout + result.stderr
    (training / "annotations.txt").write_text(result.stdout)
    return training


def read(repository: Path, name: str) -> str:
    return (repository / name).read_text(encoding="utf-8")


def test_an_annotation(repository: Path) -> None:
    first = read(repository, "annotations.txt").splitlines()[0]
    assert first.startswith("::error file=training/net.py,line=6,title=Different operations [operation-mismatch]::rank 2 disagrees on the ")


def test_a_result_of_sarif(repository: Path) -> None:
    result: dict[str, Any] = json.loads(read(repository, "fakerun.sarif"))["runs"][0]["results"][0]
    places = [each["physicalLocation"] for each in (*result["locations"], *result["relatedLocations"])]
    assert [(each["artifactLocation"]["uri"], each["region"]["startLine"]) for each in places] == [
        ("training/net.py", 6),
        ("training/net.py", 8),
    ]
    assert result["locations"][0]["logicalLocations"][0]["name"] == "synchronise"


def test_a_failed_test_of_junit(repository: Path) -> None:
    (suite,) = JUnitXml.fromstring(read(repository, "report.xml").encode())
    texts = {case.name: [result.text for result in case.result] for case in suite}
    assert texts["the script runs"] == []
    assert [text.partition("\n")[0] for each in texts.values() for text in each] == ["training/net.py:6: Different operations"]


def test_an_issue_of_gitlab(repository: Path) -> None:
    issue = json.loads(read(repository, "quality.json"))[0]
    assert (issue["check_name"], issue["location"]) == ("operation-mismatch", {"path": "training/net.py", "lines": {"begin": 6}})


def test_a_line_of_json(repository: Path) -> None:
    lines = [json.loads(line) for line in read(repository, "report.jsonl").splitlines()]
    first = next(line for line in lines if line["kind"] == "finding")
    assert (first["path"], first["finding"]["call_site"]["line"]) == ("training/net.py", 6)
    assert [line["finding"] for line in lines if line["kind"] == "finding"] == json.loads(read(repository, "report.json"))["findings"]


def test_rows_of_the_table(repository: Path) -> None:
    rows = list(csv.DictReader(read(repository, "ranks.csv").splitlines()))
    assert [(row["row"], row["ranks"], row["operation"]) for row in rows] == [
        ("ranks", "ranks 0-1 and 3", ""),
        ("operation", "ranks 0-1 and 3", "broadcast"),
        ("ranks", "rank 2", ""),
        ("operation", "rank 2", "all_reduce"),
    ]


def test_a_comment(repository: Path) -> None:
    page = read(repository, "comment.md")
    assert page.startswith("<!-- fakerun:train.py -->\n")
    assert re.search(r"\*\*error\*\* `operation-mismatch` on rank 2 at `net\.py:6`", page)
