"""Several jobs in one fork server: torch is imported once, and each job's records equal those of a separate run."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.job.ranks import ALL_RANKS, AUTO_RANKS, RankChoice
from fakerun.job.request import JobRequest
from fakerun.job.spec import JobSpec
from fakerun.launch import JobRun, RankServer, RunDirectory, open_run_directory, run_jobs

SCRIPT = """
import os, sys
print(os.getppid(), "torch" in sys.modules, os.environ.get("ONE"), os.environ.get("TWO"), os.environ["WORLD_SIZE"])
import torch, torch.distributed as dist
dist.init_process_group()
weight = torch.ones({size}, device="cuda", requires_grad=True)
optimizer = torch.optim.SGD([weight])
for _ in range(2):
    weight.sum().backward()
    dist.all_reduce(weight.grad)
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, size in (("one.py", 8), ("two.py", 1024)):
        Path(name).write_text(SCRIPT.format(size=size))
    return tmp_path


def job(script: str, world_size: int, ranks: RankChoice, **env: str) -> JobSpec:
    return JobRequest(script=Path(script), world_size=world_size, ranks=ranks, env=env).resolve()


ONE = ("one.py", 4, ALL_RANKS, {"ONE": "1"})
TWO = ("two.py", 2, RankChoice.of([1]), {"TWO": "2"})


def printed(directory: RunDirectory, ranks: Iterable[int]) -> set[tuple[str, ...]]:
    return {tuple(directory.rank(rank).stdout.read_text().split()) for rank in ranks}


def test_jobs_share_a_server() -> None:
    """Jobs that differ in script, environment, world size and ranks."""
    jobs = [job(script, size, ranks, **env) for script, size, ranks, env in (ONE, TWO)]
    together = [open_run_directory(Path(f"together-{number}")) for number in range(2)]
    with RankServer() as server:
        records = run_jobs([JobRun(each, directory) for each, directory in zip(jobs, together, strict=True)], server)
        (pid,) = server.pids
        assert printed(together[0], range(4)) == {(str(pid), "True", "1", "None", "4")}
        assert printed(together[1], [1]) == {(str(pid), "True", "None", "2", "2")}
    assert [[record.failure for record in run.ranks] for run in records] == [[None] * 4, [None]]
    with RankServer() as server:
        alone = [run_jobs([JobRun(each, open_run_directory(Path(f"alone-{number}")))], server) for number, each in enumerate(jobs)]
    assert [(record,) for record in records] == alone


def test_a_job_that_needs_another_environment_at_load_gets_another_server() -> None:
    """What Python reads when it starts cannot be given to a process that has been forked."""
    Path("hidden").mkdir()
    Path("hidden/helper.py").write_text("FOUND = True\n")
    Path("one.py").write_text("import helper\nprint(helper.FOUND)\n")
    found = job("one.py", 2, RankChoice.of([0]), PYTHONPATH=str(Path("hidden").resolve()))
    missing = replace(found, env={})
    directories = [open_run_directory(Path(name)) for name in ("found", "missing")]
    with RankServer() as server:
        runs = run_jobs([JobRun(found, directories[0]), JobRun(missing, directories[1])], server)
        assert len(server.pids) == 2
    failures = [run.ranks[0].failure for run in runs]
    assert failures[0] is None
    assert failures[1] is not None
    assert failures[1].exception == "ModuleNotFoundError"


def test_representatives_are_chosen_for_each_job() -> None:
    jobs = [job("one.py", 64, AUTO_RANKS), job("two.py", 256, AUTO_RANKS)]
    with RankServer() as server:
        runs = run_jobs([JobRun(each, open_run_directory(None)) for each in jobs], server)
    for each, run in zip(jobs, runs, strict=True):
        assert run.is_complete
        assert len(run.ranks) + sum(len(assumed.ranks) for assumed in run.assumed) == each.world_size
