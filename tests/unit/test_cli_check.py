"""`fakerun check`: which jobs it runs, what it prints, how it ends. The launcher is fake: no rank is started."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fakerun
from fakerun.cli.app import main
from fakerun.errors import ExitCode
from fakerun.job.spec import JobSpec
from fakerun.job.yaml_job import JobOfSeveral
from fakerun.launch import JobRun
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord, RunRecord
from tests.unit.test_job_check_file import BROKEN, BROKEN_TOML

FILE = """\
version: 1
defaults: {script: train.py, world_size: 2, steps: 5}
jobs:
  small: {}
  large: {world_size: 64, ranks: 0-31}
  sweep: {matrix: {hardware: [h200, l4]}}
"""


@dataclass
class Launcher:
    """A fake `run_jobs`: records the jobs, and ends their ranks as specified by name of the script's first argument, else well."""

    failures: dict[str, FailureKind] = field(default_factory=dict)
    findings: dict[str, FindingCode] = field(default_factory=dict)
    jobs: list[JobSpec] = field(default_factory=list)
    at_a_time: int | None = None

    def __call__(self, runs: Sequence[JobRun], server: object, *, jobs: int | None = None) -> tuple[RunRecord, ...]:
        self.jobs += [run.job for run in runs]
        self.at_a_time = jobs
        return tuple(map(self._ended, runs))

    def _ended(self, run: JobRun) -> RunRecord:
        name = run.job.args[0] if run.job.args else ""
        kind, code = self.failures.get(name), self.findings.get(name)
        failure = None if kind is None else ProcessFailure(kind=kind, exception=None, message=f"it is {kind}")
        findings = () if code is None else (Finding(code=code, message=f"there is {code}", ranks=(0,)),)
        ranks = tuple(RankRecord(rank=rank, failure=failure, findings=findings) for rank in run.job.ranks)
        for record in ranks:
            run.watcher.started(record.rank)
            run.watcher.ended(record)
        run.watcher.done()
        return RunRecord(fakerun_version=fakerun.__version__, torch_version="2.13", ranks=ranks)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a script and a job file; no variable of the caller's."""
    for name in os.environ:
        if name.startswith(("FAKERUN_", "PET_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Path("train.py").touch()
    Path("fakerun.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture(autouse=True)
def launcher(monkeypatch: pytest.MonkeyPatch) -> Launcher:
    launcher = Launcher()
    monkeypatch.setattr("fakerun.launch.run_jobs", launcher)
    return launcher


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert main(["check", "--list", *args]) == 0
    return [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]


def test_jobs_are_listed(capsys: pytest.CaptureFixture[str], launcher: Launcher) -> None:
    assert main(["check", "--list"]) == 0
    assert capsys.readouterr().out == (
        "small  train.py  (ranks 0 of 2, h100-80gb)\n"
        "large  train.py  (ranks 0-31 of 64, h100-80gb)\n"
        "sweep[hardware=h200]  train.py  (ranks 0 of 2, h200)\n"
        "sweep[hardware=l4]  train.py  (ranks 0 of 2, l4)\n"
    )
    assert not launcher.jobs


def test_the_file_is_found_from_below(capsys: pytest.CaptureFixture[str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(directory / "a" / "b")
    assert listed(capsys, "s*") == ["small", "sweep[hardware=h200]", "sweep[hardware=l4]"]
    (directory / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert listed(capsys, "small") == ["small"]
    (directory / "a" / "pyproject.toml").write_text("[tool.fakerun]\nversion = 1\njobs.near = {module = 'm', world_size = 1}\n")
    assert listed(capsys) == ["near"]
    (directory / "a" / "fakerun.yml").write_text("version: 1\njobs: {nearest: {module: m, world_size: 1}}\n")
    assert listed(capsys) == ["nearest"]
    assert listed(capsys, "../../fakerun.yaml", "small") == ["small"]


def test_no_file(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    Path("fakerun.yaml").unlink()
    assert main(["check"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        f"fakerun: error: no job file: neither fakerun.yaml nor fakerun.yml nor [tool.fakerun] in pyproject.toml in {directory} or above "
        "it; write one (docs/job_files.md), or pass the path of a job file\n"
    )


def test_a_baseline_that_is_a_link_to_nothing_is_an_error(capsys: pytest.CaptureFixture[str], launcher: Launcher) -> None:
    baseline = Path(".fakerun/baselines/small.yaml")
    baseline.parent.mkdir(parents=True)
    baseline.symlink_to("moved.yaml")
    assert main(["check"]) == ExitCode.USAGE
    assert str(baseline) in capsys.readouterr().err
    assert not launcher.jobs


def test_the_job_that_takes_longest_starts_first(launcher: Launcher) -> None:
    assert main(["check", "-j", "3"]) == 0
    assert [len(job.ranks) for job in launcher.jobs] == [32, 1, 1, 1]
    assert launcher.at_a_time == 3


def test_a_file_of_one_job(capsys: pytest.CaptureFixture[str], launcher: Launcher) -> None:
    Path("nightly.yaml").write_text("script: train.py\nworld_size: 4\n")
    assert main(["check", "nightly.yaml"]) == 0
    assert [job.world_size for job in launcher.jobs] == [4]
    assert "simulated  rank 0" in capsys.readouterr().out, "a single job is reported in full"


def test_options_go_before_variables_and_these_before_the_file(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["check", "small"]) == 0
    monkeypatch.setenv("FAKERUN_STEPS", "7")
    assert main(["check", "small"]) == 0
    assert main(["check", "small", "--steps", "3", "--hardware", "l40s", "--timeout", "9"]) == 0
    assert [(job.steps, job.hardware.name, job.timeout_s) for job in launcher.jobs] == [
        (5, "h100-80gb", None),
        (7, "h100-80gb", None),
        (3, "l40s", 9.0),
    ]


@pytest.mark.parametrize("name", [*BROKEN, *(f"pyproject: {name}" for name in BROKEN_TOML)])
def test_a_broken_file_runs_nothing(name: str, launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    file, (text, messages) = (
        ("pyproject.toml", BROKEN_TOML[name[11:]]) if name.startswith("pyproject: ") else ("fakerun.yaml", BROKEN[name])
    )
    Path(file).write_text(text)
    assert main(["check", file]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", [f"fakerun: error: {file}{message}" for message in messages])
    assert not launcher.jobs


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("smal",), "fakerun.yaml: no job 'smal' (did you mean 'small'?); jobs: small, large, sweep[hardware=h200], sweep[hardware=l4]"),
        (("nope.yaml",), "nope.yaml: cannot read the file: No such file or directory"),
        (("--jobs", "0"), "--jobs 0: must be at least 1"),
        (("small", "--steps", "0"), "fakerun.yaml:4: job small: steps 0: must be at least 1, or all"),
        (("small", "--max-memory", "x"), "--max-memory: "),
        (("--hardware", "h201"), "unknown hardware 'h201'"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str, launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *args]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"fakerun: error: {message}")
    assert not launcher.jobs


OUTCOMES = """\
version: 1
defaults: {script: train.py, world_size: 1}
jobs:
  fine: {}
  unfit: {args: [unfit]}
  warned: {args: [warned]}
  ignored: {args: [unfit], ignore: does-not-fit}
  strict: {args: [warned], strict: true}
  failed: {args: [failed]}
  gap: {args: [gap]}
  stopped: {args: [stopped]}
"""


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ("fine warned ignored", ExitCode.OK),
        ("fine unfit", ExitCode.FINDINGS),
        ("strict", ExitCode.FINDINGS),
        ("warned --strict", ExitCode.FINDINGS),
        ("unfit --ignore does-not-fit", ExitCode.OK),
        ("unfit strict --exit-zero", ExitCode.OK),
        ("unfit failed", ExitCode.SCRIPT_FAILED),
        ("unfit failed --exit-zero", ExitCode.SCRIPT_FAILED),
        ("failed gap unfit", ExitCode.INTERNAL),
        ("stopped gap failed", ExitCode.INTERRUPTED),
    ],
)
def test_the_exit_code_is_that_of_the_worst(jobs: str, code: ExitCode, launcher: Launcher, directory: Path) -> None:
    Path("fakerun.yaml").write_text(OUTCOMES)
    launcher.findings.update(unfit=FindingCode.DOES_NOT_FIT, warned=FindingCode.TIGHT_FIT)
    launcher.failures.update(failed=FailureKind.EXCEPTION, gap=FailureKind.GAP, stopped=FailureKind.INTERRUPTED)
    assert main(["check", *jobs.split()]) == code


def test_what_is_printed(launcher: Launcher, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    Path("fakerun.yaml").write_text(OUTCOMES)
    launcher.findings.update(unfit=FindingCode.DOES_NOT_FIT)
    launcher.failures.update(failed=FailureKind.EXCEPTION)
    main(["check", "fine", "unfit", "failed"])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == lines[-1]
    assert lines[0].startswith("SCRIPT FAILED  2 of 3 jobs failed (unfit, failed)")
    rows = {line.split()[0]: line for line in lines[lines.index("Jobs") + 4 : lines.index("Jobs") + 7]}
    assert list(rows) == ["fine", "unfit", "failed"]
    assert ["NOT OK" in row for row in rows.values()] == [False, True, False]
    assert "unfit  NOT OK" in lines
    assert "  there is does-not-fit" in lines
    assert "failed  SCRIPT FAILED" in lines
    assert not any(line.startswith("fine  OK") for line in lines[lines.index("Jobs") + 7 :])
    kept = sorted(directory.glob("fakerun-*"))
    assert len(kept) == 2
    said = captured.err.splitlines()
    assert [line for line in said if "run directory of" in line] == [
        f"fakerun: run directory of {name}: {path}" for name, path in zip(("unfit", "failed"), _in_order(said), strict=True)
    ]
    assert [line.partition(" ranks in ")[0].rpartition(": ")[0] for line in said[:3]] == [
        "fakerun: 1/3 fine",
        "fakerun: 2/3 unfit",
        "fakerun: 3/3 failed",
    ]


def _in_order(said: Sequence[str]) -> list[str]:
    return [line.rpartition(": ")[2] for line in said if "run directory of" in line]


@pytest.mark.parametrize(
    ("option", "code", "ran"), [("-x", ExitCode.FINDINGS, ["fine", "unfit"]), ("--exitfirst", ExitCode.FINDINGS, ["fine", "unfit"])]
)
def test_it_stops_at_the_first_that_fails(
    option: str, code: ExitCode, ran: list[str], launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("fakerun.yaml").write_text(OUTCOMES)
    launcher.findings.update(unfit=FindingCode.DOES_NOT_FIT)
    launcher.failures.update(failed=FailureKind.EXCEPTION)
    assert main(["check", "unfit", "fine", "failed", option, "--no-cache"]) == code
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines() if line.startswith(("fine ", "unfit "))][:2] == ran
    assert "1 of 2 jobs failed (unfit)" in captured.out
    assert "fakerun: stopped at the first job that fails: 1 of 3 not run: failed" in captured.err
    assert len(launcher.jobs) == 2


def test_where_the_first_fails_its_report_is_whole(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fakerun.yaml").write_text(OUTCOMES.replace("  fine: {}\n", ""))
    launcher.findings.update(unfit=FindingCode.DOES_NOT_FIT)
    assert main(["check", "-x", "--no-cache"]) == ExitCode.FINDINGS
    assert "simulated  rank 0" in capsys.readouterr().out


def test_quiet(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "small", "large", "-q", "--no-cache"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("OK  2 jobs passed")


SCALARS: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 1 << 70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["2x4", "all", "auto", "h200", "train.py"]),
)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*JobOfSeveral.model_fields, "exclude", "a"]), inner, max_size=3)
    ),
    max_leaves=12,
)
JOBS: Any = st.dictionaries(st.sampled_from(list(JobOfSeveral.model_fields)), VALUES, max_size=5)
FILES: Any = st.fixed_dictionaries(
    {"version": st.just(1), "jobs": st.dictionaries(st.text("ab.-[", max_size=3), JOBS, max_size=3) | VALUES},
    optional={"defaults": JOBS | VALUES, "x": VALUES},
)
CHEAP = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@CHEAP
@given(content=FILES | VALUES)
def test_no_file_of_any_values_crashes_or_runs(content: Any, launcher: Launcher) -> None:
    Path("fakerun.yaml").write_text(yaml.safe_dump(content))
    assert main(["check", "--list", "fakerun.yaml"]) in (ExitCode.OK, ExitCode.USAGE)
    assert not launcher.jobs


@CHEAP
@given(text=st.binary(max_size=60) | st.text(alphabet="{}[]:,-&*!<>|\"'\n \tjobsversion1defaults#=.", max_size=80).map(str.encode))
def test_no_text_crashes_or_runs(text: bytes, launcher: Launcher) -> None:
    for name in ("fakerun.yaml", "pyproject.toml"):
        Path(name).write_bytes(text)
        assert main(["check", "--list", name]) in (ExitCode.OK, ExitCode.USAGE)
    assert not launcher.jobs
