"""Results of kept runs: one is found again only if nothing differs of what the run was held against."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from fakerun.cli.job_outcomes import JobOutcome
from fakerun.cli.judge import Judge, PlannedJob
from fakerun.errors import ExitCode
from fakerun.job.budgets import (
    Budgets,
    CodeBudget,
    CommunicationBudget,
    MemoryBudget,
    MemoryKey,
    NoCollectives,
    Required,
    Selection,
    VolumeKey,
    parse_memory_limit,
)
from fakerun.job.check_file import CheckJob
from fakerun.job.mesh import mesh_from_axes
from fakerun.job.request import JobRequest
from fakerun.job.tolerances import Tolerances
from fakerun.launch.result_cache import KeptRun
from fakerun.launch.run_directory import RunDirectory
from fakerun.records.finding_code import FindingCode
from fakerun.report import Report, build_report
from fakerun.report.build_baseline import baseline_of
from tests.unit.records_by_hand import llama_8b_job, llama_8b_rank, run

BUDGETS = Budgets(
    memory=(
        MemoryBudget(key=MemoryKey.PEAK_RESERVED, of=Selection(coordinate={"tp": 0}), limit=parse_memory_limit("70GiB"), source="a:1"),
        MemoryBudget(key=MemoryKey.HEADROOM, limit=parse_memory_limit("5%"), source="a:2"),
    ),
    communication=(CommunicationBudget(key=VolumeKey.CALLS, most=8, text="8", source="a:3", group="tp"),),
    no_collectives=(NoCollectives(name="no_collectives_in.x", module="x.*", source="a:4"),),
    ranks_agree=Required(source="a:5"),
    fits=Required(source="a:6"),
    no_unawaited_async=Required(source="a:7"),
    strict=Required(on=False, source="a:8"),
    allowed=(CodeBudget(code=FindingCode.TIGHT_FIT, source="a:9"),),
    forbidden=(CodeBudget(code=FindingCode.UNKNOWN_VALUE, source="a:10"),),
)
SPEC = replace(llama_8b_job(), budgets=BUDGETS, env={"A": "1"}, mesh=mesh_from_axes({"dp": 2, "tp": 4}), timeout_s=3.0, seed=1)
RUN = run(llama_8b_rank())
JOB = PlannedJob(
    asked=CheckJob(
        name="train",
        request=JobRequest(),
        source="fakerun.yaml:3",
        baseline=Path("b.yaml"),
        is_baseline_named=True,
        tolerances=Tolerances(),
    ),
    spec=SPEC,
    baseline=baseline_of(build_report(SPEC, RUN)),
)
NOT_OF_THE_RESULT = {"name", "request", "source", "is_baseline_named"}
"""Of `CheckJob`: its name, where it is written, and what `spec` was made of."""


def judge(job: PlannedJob = JOB, budgets: Budgets = BUDGETS, *, needs_reports: bool = False) -> Judge:
    return Judge(jobs={"train": job}, budgets=budgets, needs_reports=needs_reports, with_history=False, with_timeline=False)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptRun:
    """A kept run with the result of `JOB`."""
    monkeypatch.chdir(tmp_path)
    found = KeptRun(job=SPEC, directory=RunDirectory(tmp_path / "run"), inputs="digest")
    judge().result("train", JobOutcome(record=RUN, directory=found.directory, kept=found))
    return found


def changed(value: Any) -> Iterator[Any]:
    """Copies of the value that differ from it in one place; each place of it is changed in some."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.init and field.name not in NOT_OF_THE_RESULT:
                yield from (replace(value, **{field.name: other}) for other in changed(getattr(value, field.name)))
    elif isinstance(value, Mapping):
        yield {**value, next(iter(value), "new"): object()}
        yield from ({**value, key: other} for key, item in value.items() for other in changed(item))
    elif isinstance(value, tuple) and not isinstance(value, str):
        yield (*value, "one more")
        yield from ((*value[:at], other, *value[at + 1 :]) for at, item in enumerate(value) for other in changed(item))
    else:
        yield _other(value)


def _other(value: Any) -> Any:
    match value:
        case None | Enum():
            return "another"
        case bool():
            return not value
        case int() | float():
            return value + 1
        case Path():
            return value / "x"
        case str():
            return f"{value} "
        case _:
            raise AssertionError(f"a kind of value that is not compared: {value!r}")


def test_the_same_is_found_again(kept: KeptRun) -> None:
    found = judge().known_result("train", kept)
    assert found is not None
    assert found.exit_code is ExitCode.FINDINGS
    report = judge().result("train", JobOutcome(record=RUN, directory=kept.directory, kept=None)).report
    assert isinstance(report, Report)
    assert (found.checks, found.findings, found.fit) == (report.checks, report.findings, report.fit)
    assert judge(needs_reports=True).known_result("train", kept) is None


def test_whatever_differs_of_what_it_is_held_against_it_is_another_result(kept: KeptRun) -> None:
    others = [
        *(judge(replace(JOB, spec=spec)) for spec in changed(SPEC)),
        *(judge(replace(JOB, asked=asked)) for asked in changed(JOB.asked)),
        *(judge(replace(JOB, baseline=baseline)) for baseline in (None, *changed(JOB.baseline))),
        *(judge(budgets=budgets) for budgets in (Budgets(), *changed(BUDGETS))),
    ]
    assert len(others) > 200
    assert [each for each in others if each.known_result("train", kept) is not None] == []
    assert judge().known_result("train", kept) is not None


def test_another_run_has_another_result(kept: KeptRun) -> None:
    assert judge().known_result("train", replace(kept, inputs="another digest")) is None


def test_a_damaged_result_is_none(kept: KeptRun) -> None:
    file = kept.directory.path.parent / "result.json"
    file.write_bytes(file.read_bytes()[:-1])
    assert judge().known_result("train", kept) is None


def test_where_it_cannot_be_written_the_result_is_told_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = KeptRun(job=SPEC, directory=RunDirectory(tmp_path / "gone" / "run"), inputs="digest")
    result = judge().result("train", JobOutcome(record=RUN, directory=nowhere.directory, kept=nowhere))
    assert result.report.checks
    assert "the result of train is not kept for the next time: " in capsys.readouterr().err


def test_it_is_the_same_in_every_process() -> None:
    """Whatever the seed of Python's hashes: sets would come in another order."""
    program = "from tests.unit.test_cli_judge import judge; print(judge()._held_against('train'))"
    texts = {_output_of(program, hash_seed) for hash_seed in ("1", "2")}
    assert len(texts) == 1


def _output_of(program: str, hash_seed: str) -> str:
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
