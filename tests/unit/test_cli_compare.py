"""`fakerun compare` on reports and baselines: formats, exit codes, and what it says of input that is none of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.cli.app import main
from fakerun.cli.baseline_files import write_baseline
from fakerun.launch.run_directory import open_run_directory
from fakerun.report import build_report
from fakerun.report.build_baseline import baseline_of
from fakerun.report.build_comparison import build_comparison, compared_job
from fakerun.report.formats.json import render
from fakerun.report.read_report import read_report
from tests.unit.records_by_hand import llama_8b_job, llama_8b_rank, run

REPORT = build_report(llama_8b_job(), run(llama_8b_rank()))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same job as a report and as a baseline, and a report with one call less."""
    monkeypatch.chdir(tmp_path)
    write_baseline(Path("known.yaml"), baseline_of(REPORT))
    document = json.loads(render(REPORT))
    Path("report.json").write_text(json.dumps(document))
    del document["ranks"][0]["collectives"][-1]
    Path("other.json").write_text(json.dumps(document))
    return tmp_path


def test_a_run_and_its_report_are_equal() -> None:
    read = read_report("report.json", render(REPORT).encode())
    comparison = build_comparison(compared_job("run", REPORT), read)
    assert not comparison.differences
    assert not comparison.facts
    assert all(figure.is_within for figure in comparison.figures)


@pytest.mark.parametrize(
    ("old", "new", "code"), [("known.yaml", "report.json", 0), ("report.json", "known.yaml", 0), ("report.json", "other.json", 1)]
)
@pytest.mark.usefixtures("files")
def test_exit_codes(old: str, new: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", old, new]) == code
    assert capsys.readouterr().out.startswith("DIFFERENT" if code else "EQUAL")


@pytest.mark.usefixtures("files")
def test_every_format_has_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    message = "-1 reduce_scatter_tensor on dp in backward of layers.*"
    for name in ("table", "markdown", "json"):
        assert main(["compare", "report.json", "other.json", "--format", name]) == 1
        assert message.replace("*", r"\*" if name == "markdown" else "*") in capsys.readouterr().out
    assert main(["compare", "report.json", "other.json", "-o", "difference.json"]) == 1
    written = json.loads(Path("difference.json").read_text())
    assert [each["message"] for each in written["differences"]] == [message]
    assert f"fakerun: baseline-drift: {message}" in capsys.readouterr().err


@pytest.fixture
def project(files: Path) -> Path:
    """A project with three jobs: one has a baseline and a kept run that issues a call less, two have neither."""
    jobs = "{script: train.py, world_size: 8}"
    several = "{script: train.py, matrix: {world_size: [2, 4]}}"
    Path("train.py").touch()
    Path("fakerun.yaml").write_text(f"version: 1\njobs:\n  train: {jobs}\n  other: {jobs}\n  sweep: {several}\n")
    write_baseline(Path(".fakerun/baselines/train.yaml"), baseline_of(REPORT))
    directory = open_run_directory(None)
    record = llama_8b_rank()
    directory.write_job(llama_8b_job())
    directory.rank(0).make()
    directory.records.write(replace(record, collectives=record.collectives[:-1]))
    directory.records.write_run(run(record))
    Path(".fakerun/cache/train").mkdir(parents=True)
    directory.path.rename(".fakerun/cache/train/run")
    return files


def test_a_job_is_compared_with_its_baseline(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert main(["compare", "train"]) == 1
    printed = capsys.readouterr().out
    assert "baseline of train -> run of train" in printed
    assert "-1 reduce_scatter_tensor on dp in backward of layers.*" in printed


@pytest.mark.usefixtures("project")
def test_jobs_are_compared_by_their_kept_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "train", "train"]) == 0
    assert main(["compare", "report.json", "train"]) == 1
    assert "report.json -> train" in capsys.readouterr().out
    assert main(["compare", "other.json", "train"]) == 0


NOT_COMPARED = {
    ("other",): "job other: has no baseline .fakerun/baselines/other.yaml yet; write it with: fakerun check other --update-baseline",
    ("train", "other"): "job other: no run of it is kept; run it with: fakerun check other",
    ("trian",): "fakerun.yaml: no job 'trian' (did you mean 'train'?); jobs: train, other, sweep[world_size=2], sweep[world_size=4]",
    ("sweep",): "sweep: is 2 jobs of fakerun.yaml; name one of them: sweep[world_size=2], sweep[world_size=4]",
    ("report.json",): "report.json: pass what to compare it with, too; only a job is compared with its baseline when it is alone",
}


@pytest.mark.parametrize(("args", "message"), NOT_COMPARED.items(), ids=[" ".join(args) for args in NOT_COMPARED])
@pytest.mark.usefixtures("project")
def test_jobs_that_cannot_be_compared(args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *args]) == 2
    assert capsys.readouterr().err == f"fakerun: error: {message}\n"


REFUSED = {
    ("missing", "known.yaml"): "missing: no such file or directory, and no job file: neither fakerun.yaml nor ",
    ("missing.yaml", "known.yaml"): "missing.yaml: cannot read the file: No such file or directory",
    ("missing.json", "known.yaml"): "missing.json: cannot read the file: No such file or directory",
    (".", "known.yaml"): "not a fakerun run directory",
    ("broken.json", "known.yaml"): "broken.json: is no report of fakerun in JSON: the file: ",
    ("empty.json", "known.yaml"): "empty.json: is no report of fakerun in JSON: fakerun_version: field required",
    ("known.yaml", "report.json", "--format", "svg"): "unknown format 'svg'; known: table, markdown, json",
    ("known.yaml", "report.json", "-o", "x.pdf"): "output x.pdf: no format has this ending; known: .txt, .md, .json",
    ("known.yaml", "report.json", "-o", "known.yaml"): "output known.yaml: is ",
}


@pytest.mark.parametrize(("args", "message"), REFUSED.items(), ids=[" ".join(args) for args in REFUSED])
@pytest.mark.usefixtures("files")
def test_bad_input(args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.json").write_text("{")
    Path("empty.json").write_text("{}")
    assert main(["compare", *args]) == 2
    assert message in capsys.readouterr().err
