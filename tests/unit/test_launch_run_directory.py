"""The run directory holds one run, is locked while it is written, and is refused where something else is there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fakerun.errors import ExitCode, UsageError
from fakerun.job.codec import decode_job
from fakerun.job.spec import JobSpec
from fakerun.launch.run_directory import RunDirectory, open_run_directory, reopen_run_directory
from fakerun.records.run import RankRecord
from fakerun.records.unwritten_files import Change, FileChange
from tests.unit.records_by_hand import H100

JOB = JobSpec(
    script=Path("train.py"),
    hardware=H100,
)


def _tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def _earlier_run(directory: Path) -> RunDirectory:
    run = open_run_directory(directory)
    run.write_job(JOB)
    for rank in (0, 12):
        files = run.rank(rank)
        files.make()
        run.records.write(RankRecord(rank=rank))
        run.unwritten.begin()
        run.unwritten.append(rank, FileChange(change=Change.REMOVED, path="/a", order=(0, 0), counts={}))
        for path in (
            files.stdout,
            files.stderr,
            files.error,
            files.crash,
            files.full_traceback,
        ):
            path.write_text("x")
    return run


def test_an_absent_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    assert open_run_directory(tmp_path / "runs" / "first").path == tmp_path / "runs" / "first"
    assert _tree(tmp_path) == {"runs", "runs/first"}


def test_without_a_name_it_is_a_fresh_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, other = open_run_directory(None), open_run_directory(None)
    assert one.path != other.path
    assert {one.path.parent, other.path.parent} == {tmp_path}
    assert one.path.name.startswith("fakerun-")


def test_a_discarded_run_directory_is_removed(tmp_path: Path) -> None:
    run = _earlier_run(tmp_path / "run")
    (run.path / "rank-00012" / "profile.json").write_text("of the script")
    run.discard()
    assert _tree(tmp_path) == set()
    run.discard()


def test_job_and_records_come_back(tmp_path: Path) -> None:
    run = _earlier_run(tmp_path)
    assert decode_job(run.job_file.read_bytes()) == JOB
    assert run.records.read(12) == RankRecord(rank=12)
    assert _tree(tmp_path) >= {"job.json", "rank-00012", "rank-00012/record.json.gz", "rank-00012/stdout.log", "rank-00012/stderr.log"}


def test_a_rank_without_a_record_has_none(tmp_path: Path) -> None:
    assert open_run_directory(tmp_path).records.read(0) is None


def test_an_earlier_run_is_refused_untouched(tmp_path: Path) -> None:
    with _earlier_run(tmp_path):
        before = _tree(tmp_path)
    message = "holds an earlier run; continue that with --resume, or pass a new directory (or remove this one) to start over"
    with pytest.raises(UsageError) as raised:
        open_run_directory(tmp_path)
    assert str(raised.value) == f"run directory {tmp_path}: {message}"
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("open_again", [open_run_directory, reopen_run_directory])
def test_no_two_runs_share_a_directory(tmp_path: Path, open_again: Callable[[Path], RunDirectory]) -> None:
    with _earlier_run(tmp_path), pytest.raises(UsageError) as raised:
        open_again(tmp_path)
    assert str(raised.value) == f"run directory {tmp_path}: another run uses it; wait for its end, or pass another directory"
    with reopen_run_directory(tmp_path) as again:
        assert again.read_job() == JOB


def test_a_refused_directory_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        with pytest.raises(UsageError, match="contains files"):
            open_run_directory(tmp_path)


def test_the_path_stays_valid_when_the_working_directory_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_run_directory(Path("run")).path == tmp_path / "run"


@pytest.mark.parametrize("job_json", [None, "{}", '{"job": "of another program"}', "no json"])
def test_a_directory_of_something_else_is_refused_untouched(tmp_path: Path, job_json: str | None) -> None:
    (tmp_path / "rank-00000").mkdir()
    (tmp_path / "rank-00000" / "stdout.log").write_text("mine")
    if job_json is not None:
        (tmp_path / "job.json").write_text(job_json)
    before = _tree(tmp_path)
    with pytest.raises(UsageError) as raised:
        open_run_directory(tmp_path)
    assert str(raised.value) == (
        f"run directory {tmp_path}: contains files that are not from a fakerun run; pass a new or empty directory to --run-dir"
    )
    assert raised.value.exit_code == ExitCode.USAGE
    assert _tree(tmp_path) == before


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = f"run directory {tmp_path}/file/run: Not a directory; pass a writable directory to --run-dir"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        open_run_directory(tmp_path / "file" / "run")
    with pytest.raises(UsageError, match="file: File exists; pass a writable directory"):
        open_run_directory(tmp_path / "file")


def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "some temporary name")

    # Not by taking the permission away: the tests may run as root, who needs none.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    message = f"run directory {tmp_path}: Permission denied; pass a writable directory to --run-dir"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        open_run_directory(tmp_path)
