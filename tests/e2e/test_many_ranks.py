"""Large worlds through the command: representative ranks, the report of a kept run, and resuming an interrupted one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import REPOSITORY, fakerun
from tests.shared_results import SharedResults

PIPELINE = REPOSITORY / "tests" / "programs" / "pipeline_of_many.py"
LARGE = ("--mesh", "4x256x2", "--ranks", "auto")
"""2,048 ranks, of which few are simulated."""

AVERAGE = """import torch, torch.distributed as dist
dist.init_process_group()
x = torch.randn(8, device=f"cuda:{dist.get_rank()}", requires_grad=True)
optimizer = torch.optim.SGD([x])
for _ in range(2):
    (x * x).sum().backward()
    dist.all_reduce(x.grad)
    optimizer.step()
"""


@pytest.fixture
def kept(shared_results: SharedResults) -> tuple[Path, dict[str, Any]]:
    """The directory and the report of a large run in which rank 5 makes a call of its own."""
    return shared_results.get("a large run", lambda: _kept(shared_results.directory / "run"))


def _kept(directory: Path) -> tuple[Path, dict[str, Any]]:
    result = fakerun(str(PIPELINE), *LARGE, "--format", "json", "--run-dir", str(directory), "--", "--stray")
    assert result.returncode == 1, result.stderr
    return directory, json.loads(result.stdout)


def ranks_of(report: dict[str, Any]) -> list[int]:
    return [rank["rank"] for rank in report["ranks"]]


def test_few_ranks_stand_for_all(kept: tuple[Path, dict[str, Any]]) -> None:
    _, report = kept
    assert len(report["ranks"]) < 20
    assert sorted(rank for each in report["classes"] for rank in (*each["simulated"], *each["assumed"])) == list(range(2048))
    by_stage: dict[int, set[object]] = {stage: set() for stage in range(4)}
    for rank in report["ranks"]:
        if rank["rank"] != 5:
            by_stage[rank["coordinate"]["pp"]].add(tuple((call["op"], call["group"], call["nbytes"]) for call in rank["collectives"]))
    assert [len(traces) for traces in by_stage.values()] == [1, 1, 1, 1]


def test_one_simulated_rank_is_compared_with_assumed_ranks(kept: tuple[Path, dict[str, Any]]) -> None:
    _, report = kept
    (error,) = (finding for finding in report["findings"] if finding["severity"] == "error")
    assert (error["code"], error["ranks"]) == ("extra-collective", [5])
    (line,) = (number for number, text in enumerate(PIPELINE.read_text().splitlines(), 1) if text.endswith("# BUG"))
    assert (error["call_site"]["path"], error["call_site"]["line"]) == ("tests/programs/pipeline_of_many.py", line)


def test_what_was_assumed_has_a_finding(kept: tuple[Path, dict[str, Any]]) -> None:
    """How many tests torch's own code makes of the rank differs between its versions, and whether all of them can be followed."""
    _, report = kept
    (finding,) = (finding for finding in report["findings"] if finding["code"] in {"ranks-represented", "ranks-assumed"})
    pattern = (
        rf"{len(report['ranks'])} of 2048 ranks were simulated \(5 classes that [0-9]+ tests of the rank tell apart; mesh corners and "
        r"edges; 4 at random\); the rest (do what|are assumed to match) the simulated rank of their class and stage.*\."
    )
    assert re.fullmatch(pattern, finding["message"])


def test_the_report_of_a_run_that_was_kept(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, report = kept
    again = fakerun("report", str(directory), "--format", "json")
    assert (again.returncode, json.loads(again.stdout)) == (1, report)
    table = fakerun("report", str(directory)).stdout
    assert f"{len(report['ranks'])} of 2048 simulated, {2048 - len(report['ranks'])} assumed to match them; 5 distinct" in table


def test_of_a_run_that_was_cut_off_nothing_is_assumed(tmp_path: Path) -> None:
    """Rank 0 interrupts the command as soon as the stages are done."""
    (tmp_path / "train.py").write_text(
        f"import os, signal, time\n{AVERAGE}\nif dist.get_rank() == 0: os.kill(int(os.environ['COMMAND']), 2)\n"
    )
    driver = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.environ['COMMAND'] = str(os.getpid());"
        "from fakerun.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ("train.py", "--mesh", "dp=512,tp=2", "--steps", "9", "--ranks", "auto", "--run-dir", "run", "--format", "json")
    result = subprocess.run([sys.executable, "-c", driver, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 130, result.stderr
    report = json.loads(result.stdout)
    assert [each["assumed"] for each in report["classes"]] == [[] for _ in report["classes"]]
    assert not [finding for finding in report["findings"] if finding["code"] in ("ranks-assumed", "assumption-refuted")]
    assert "--resume)" in result.stderr
    again = fakerun("report", "run", cwd=tmp_path)
    assert "the run was interrupted; to continue it, repeat the command of the run with --resume" in again.stderr


def test_a_run_directory_is_small(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = kept
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) < 500_000
    assert len(list((directory / "shared").glob("schedule-*"))) == 5


@pytest.fixture
def average(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(AVERAGE)
    return tmp_path


def run(place: Path, *more: str) -> Any:
    return fakerun("train.py", "--world-size", "4", "--run-dir", "run", "--format", "json", *more, cwd=place)


def test_going_on_with_a_run_that_was_cut_off(average: Path) -> None:
    whole = run(average, "--ranks", "all")
    done = average / "run" / "rank-00001" / "record.json.gz"
    written = done.stat().st_mtime_ns
    shutil.rmtree(average / "run" / "rank-00002")
    cut_off = fakerun("report", "run", cwd=average)
    message = "the run was interrupted: no record of rank 2; to continue it, repeat the command of the run with --resume"
    assert message in cut_off.stderr
    resumed = run(average, "--ranks", "all", "--resume")
    assert resumed.stdout == whole.stdout
    assert done.stat().st_mtime_ns == written


def test_more_ranks_of_a_run_that_is_done(average: Path) -> None:
    assert ranks_of(json.loads(run(average, "--ranks", "0").stdout)) == [0]
    assert ranks_of(json.loads(run(average, "--ranks", "0-2", "--resume").stdout)) == [0, 1, 2]


def _select_ranks(place: Path) -> tuple[str, ...]:
    return ("--ranks", "auto")


def _another_job(place: Path) -> tuple[str, ...]:
    return ("--steps", "3")


def _another_script(place: Path) -> tuple[str, ...]:
    os.utime(place / "train.py", (2**31, 2**31))
    return ()


def _no_run(place: Path) -> tuple[str, ...]:
    shutil.rmtree(place / "run")
    return ()


START_OVER = "pass a new directory without --resume to start over"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_another_job, f"run directory run: steps was 2 in that run and is 3 now; {START_OVER}"),
        (
            _select_ranks,
            f"run directory run: its ranks were listed, so what they test of their rank was not recorded; {START_OVER}",
        ),
        (
            _another_script,
            "run directory run: train.py has changed since that run began; pass a new directory without --resume to start over",
        ),
        (_no_run, "run: not a fakerun run directory; pass the directory you gave to --run-dir"),
    ],
)
def test_a_run_that_cannot_be_resumed_is_refused(average: Path, prepare: Any, message: str) -> None:
    run(average)
    before = sorted(average.rglob("*"))
    words = prepare(average)
    result = run(average, "--resume", *words)
    assert (result.returncode, result.stderr) == (2, f"fakerun: error: {message}\n")
    assert prepare is _no_run or sorted(average.rglob("*")) == before


def test_resume_needs_a_directory(average: Path) -> None:
    result = fakerun("train.py", "--world-size", "4", "--resume", cwd=average)
    assert result.stderr == "fakerun: error: --resume: no run to continue; pass its directory with --run-dir\n"
