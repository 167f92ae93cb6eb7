"""The pytest plugin, in a pytest process of its own, on the test file in the documentation."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from fakerun.testing import plugin

ROOT = Path(__file__).resolve().parents[2]


def _shown() -> list[str]:
    """The blocks in Python of docs/testing.md."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_entry_point_is_the_plugin() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert [EntryPoint(name, value, "pytest11").load() for name, value in declared.items()] == [plugin]


def _run(directory: Path) -> subprocess.CompletedProcess[str]:
    """pytest in a directory."""
    # By name, whether fakerun is installed here or not; the environment's other plugins are not asked.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "fakerun.testing.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_examples_in_the_documentation_pass(tmp_path: Path) -> None:
    for number, block in enumerate(_shown()):
        (tmp_path / f"test_block_{number}.py").write_text(block, encoding="utf-8")
    result = _run(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout


FAILING = """
import pytest, torch, torch.distributed as dist

def all_reduce_twice():
    x = torch.nn.Parameter(torch.ones(1024, 1024, device="cuda"))
    optimizer = torch.optim.SGD([x])
    x.sum().backward()
    dist.all_reduce(x.grad)
    dist.all_reduce(x.grad)
    optimizer.step()

@pytest.mark.fakerun(world_size=2, communication={"calls": 1})
def test_calls():
    all_reduce_twice()

@pytest.mark.fakerun(world_size=2, peak_memory="1MiB")
def test_peak():
    all_reduce_twice()

@pytest.mark.fakerun(world_size=2)
def test_does_not_fit():
    torch.empty(100 * 2**30, device="cuda", dtype=torch.uint8)

@pytest.mark.fakerun(world_size=2, comunication={"calls": 1})
def test_mistyped():
    raise AssertionError("it must not run")

@pytest.mark.fakerun(world_size=2, peak_memory="much")
def test_no_amount():
    raise AssertionError("it must not run")

@pytest.mark.fakerun(8)
def test_positional():
    raise AssertionError("it must not run")

@pytest.mark.fakerun(world_size=2, peak_memory="1GiB", communication={"calls": 2})
def test_kept():
    all_reduce_twice()
    assert dist.get_world_size() == 2

def test_without_the_mark():
    assert not dist.is_initialized()
"""


def test_a_test_fails_with_what_it_does_not_keep(tmp_path: Path) -> None:
    (tmp_path / "test_budgets.py").write_text(FAILING, encoding="utf-8")
    result = _run(tmp_path)
    assert "6 failed, 2 passed" in result.stdout, result.stdout
    for expected in (
        "test_budgets.py:8: rank 0 has 2 calls in step 0, 1 call above the limit: communication.calls 1 call (test_budgets.py:12)",
        "above the limit: peak_reserved 1.00 MiB (test_budgets.py:16)",
        "is 21.4 GiB over the 79.2 GiB that h100-80gb has",
        "test_budgets.py:24: @pytest.mark.fakerun: no argument comunication (did you mean 'communication'?)",
        "test_budgets.py:28: @pytest.mark.fakerun: peak_reserved: ",
        "test_budgets.py:32: @pytest.mark.fakerun: arguments must be named, as in world_size=8",
    ):
        assert expected in result.stdout, result.stdout


JOB = """version: 1
jobs:
  fits: {script: train.py, world_size: 2, ranks: all}
  strict: {script: train.py, world_size: 2, ranks: all, budgets: {communication: {calls: 0}}}
"""
TRAIN = """import os, torch, torch.distributed as dist
dist.init_process_group()
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
x = torch.nn.Parameter(torch.ones(8, device="cuda"))
optimizer = torch.optim.SGD([x])
for _ in range(2):
    x.sum().backward()
    dist.all_reduce(x.grad)
    optimizer.step()
"""
OF_JOBS = """
def test_fits(fakerun_check):
    assert fakerun_check("fits").steps_completed == (2, 2)

def test_strict(fakerun_check):
    fakerun_check("strict")

def test_unknown(fakerun_check):
    fakerun_check("other")
"""


def test_a_job_is_run_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "fakerun.yaml").write_text(JOB, encoding="utf-8")
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_jobs.py").write_text(OF_JOBS, encoding="utf-8")
    result = _run(tmp_path)
    assert "2 failed, 1 passed" in result.stdout, result.stdout
    assert "fakerun: strict fails, exit code 1" in result.stdout
    assert "communication.calls 0 calls" in result.stdout
    assert "'other'" in result.stdout
