"""The cache of runs: a run is found again if nothing changed that it depends on, and is not kept where that is not known."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.job.request import JobRequest
from fakerun.job.spec import JobSpec
from fakerun.launch import result_cache
from fakerun.launch.result_cache import NotKeptError, ResultCache
from fakerun.launch.run_directory import RunDirectory, open_run_directory
from fakerun.records.inputs import RankInputs
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord, RunRecord

NAME = "train[mesh=2x4]"
FAILURE = ProcessFailure(kind=FailureKind.EXCEPTION, exception="KeyError", message="1")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a program and its data, all of an hour ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHARDS", "4")
    Path("data").mkdir()
    for name in ("train.py", "model.py", "data/0.bin", "tokenizer.model"):
        Path(name).write_text(f"{name}\n")
        os.utime(name, (time.time() - 3600,) * 2)
    return tmp_path


@pytest.fixture
def job() -> JobSpec:
    return JobRequest(script=Path("train.py"), world_size=2).resolve()


def inputs(place: Path) -> RankInputs:
    files = [str(place / name) for name in ("train.py", "model.py", "data/0.bin")]
    looked_for = [str(place / name) for name in ("override.yaml", "tokenizer.model", "data", "latest", "out", "out/log")]
    Path("latest").unlink(missing_ok=True)
    Path("latest").symlink_to("data")
    return RankInputs(
        files=tuple(files),
        directories=(str(place / "data"),),
        looked_for=tuple(looked_for),
        made=(str(place / "out"),),
        variables=("SHARDS", "UNSET"),
    )


def set_back(name: str, text: str) -> None:
    """Change a file, and give it the time that it had, as `cp -p` and container images do."""
    before = Path(name).stat()
    Path(name).write_text(text)
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_directory(name: str) -> None:
    Path(name).unlink(missing_ok=True)
    Path(name).mkdir(parents=True)


def lead_elsewhere(link: str, target: str) -> None:
    Path(link).unlink()
    Path(link).symlink_to(target)


def ran(job: JobSpec, read: RankInputs | None, failure: ProcessFailure | None = None) -> tuple[RunDirectory, RunRecord]:
    """A run of one rank, as it is in its directory."""
    directory = open_run_directory(Path("run"))
    record = RankRecord(rank=0, failure=failure)
    run = RunRecord(fakerun_version="0.1", torch_version="2.13", ranks=(record,))
    directory.write_job(job)
    directory.rank(0).make()
    directory.records.write(record)
    directory.records.write_run(run)
    if read is not None:
        directory.rank(0).inputs.write_text(json.dumps(read.as_json()))
    return directory, run


@pytest.fixture
def cache(place: Path, job: JobSpec) -> ResultCache:
    """A cache with one run."""
    cache = ResultCache(place / ".fakerun" / "cache")
    directory, run = ran(job, inputs(place))
    cache.keep(NAME, job, directory, run, began=time.time(), seconds=2.5)
    return cache


def test_a_run_is_found_again(cache: ResultCache, job: JobSpec, place: Path) -> None:
    found = cache.find(NAME, job)
    assert found is not None
    record = found.read()
    assert record is not None
    assert [each.rank for each in record.ranks] == [0]
    assert found.directory.path == place / ".fakerun" / "cache" / "train.mesh=2x4" / "run"
    assert not Path("run").exists()
    assert (place / ".fakerun" / "cache" / ".gitignore").read_text() == "*\n"
    assert cache.seconds(NAME) == 2.5
    assert cache.find("another", job) is None
    assert cache.seconds("another") is None
    assert cache.depends_on("another", frozenset()) is None


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "the script": lambda _: Path("train.py").write_text("changed\n"),
    "the script, in its last letter": lambda _: Path("train.py").write_text("train.pz\n"),
    "the script, with its time set back": lambda _: set_back("train.py", "train.pz\n"),
    "a directory in place of a file": lambda _: put_directory("model.py"),
    "a file that was looked for in vain": lambda _: Path("override.yaml").touch(),
    "a file that was looked for, and perhaps read by native code": lambda _: set_back("tokenizer.model", "tokenizer.modem\n"),
    "a link that leads elsewhere": lambda _: lead_elsewhere("latest", "data/."),
    "a file that is gone": lambda _: Path("model.py").unlink(),
    "a new file in a directory that was listed": lambda _: Path("data/1.bin").touch(),
    "a variable that was asked for": lambda patch: patch.setenv("SHARDS", "8"),
    "one that is no longer set": lambda patch: patch.delenv("SHARDS"),
    "one that was not set": lambda patch: patch.setenv("UNSET", "1"),
    "one that is read while torch loads": lambda patch: patch.setenv("OMP_NUM_THREADS", "77"),
    "a package, or fakerun": lambda patch: patch.setattr(result_cache, "_versions", lambda: {"fakerun": "another"}),
    "damage to the job": lambda _: next(Path(".fakerun").rglob("run/job.json")).write_bytes(b"x"),
    "damage to what it depends on": lambda _: next(Path(".fakerun").rglob("cache/*/inputs.json")).write_bytes(b"{"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changed_makes_it_be_simulated_again(
    change: Callable[[pytest.MonkeyPatch], object], cache: ResultCache, job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch)
    assert cache.find(NAME, job) is None


SAME: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "another variable": lambda patch: patch.setenv("EDITOR_OF_MINE", "ed"),
    "another file": lambda _: Path("notes.txt").touch(),
    "what the run itself made": lambda _: put_directory("out/log"),
    "a new time, with the same content": lambda _: os.utime("train.py"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_what_does_not_matter(
    change: Callable[[pytest.MonkeyPatch], object], cache: ResultCache, job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch)
    assert cache.find(NAME, job) is not None


def test_a_new_variable_matters_where_all_were_listed(job: JobSpec, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResultCache(place / "cache")
    directory, run = ran(job, replace(inputs(place), lists_variables=True))
    cache.keep(NAME, job, directory, run, began=time.time() + 1, seconds=1.0)
    assert cache.find(NAME, job) is not None
    monkeypatch.setenv("ANOTHER", "1")
    assert cache.find(NAME, job) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("model.py", True),
        ("override.yaml", True),
        ("data/1.bin", True),
        ("notes.txt", False),
        ("data/deeper/1.bin", False),
        (".", True),
    ],
)
def test_whether_a_job_depends_on_a_file(changed: str, expected: bool, cache: ResultCache, place: Path) -> None:
    """A directory is what git names a submodule: all that is below it changed."""
    assert cache.depends_on(NAME, frozenset({(place / changed).resolve()})) is expected


@pytest.mark.parametrize("other", [{"steps": 3}, {"args": ("--lr", "3")}, {"env": {"A": "1"}}, {"ranks": (1,)}])
def test_another_job_is_another_run(other: dict[str, object], cache: ResultCache, job: JobSpec) -> None:
    assert cache.find(NAME, replace(job, **other)) is None  # type: ignore[arg-type]


def test_a_new_run_replaces_the_old_one(cache: ResultCache, job: JobSpec, place: Path) -> None:
    Path("model.py").write_text("changed\n")
    os.utime("model.py", (time.time() - 60,) * 2)
    directory, run = ran(job, inputs(place))
    cache.keep(NAME, job, directory, run, began=time.time(), seconds=9.0)
    assert cache.find(NAME, job) is not None
    assert cache.seconds(NAME) == 9.0
    assert sorted(path.name for path in (place / ".fakerun" / "cache").iterdir()) == [".gitignore", "CACHEDIR.TAG", "train.mesh=2x4"]


def test_runs_that_nobody_uses_are_removed(cache: ResultCache, job: JobSpec, place: Path) -> None:
    entries = place / ".fakerun" / "cache"
    for name, days in {
        "renamed": 31,
        "train.mesh=2x4": 31,
        "of_another_file": 29,
        ".new-interrupted": 2,
        ".new-of_another_check": 0,
    }.items():
        (entries / name).mkdir(exist_ok=True)
        os.utime(entries / name, (time.time() - days * 86_400,) * 2)
    assert cache.find(NAME, job) is not None, "it is used again"
    directory, run = ran(job, inputs(place))
    cache.keep("another", job, directory, run, began=time.time(), seconds=1.0)
    kept = {path.name for path in entries.iterdir() if path.is_dir()}
    assert kept == {"another", "train.mesh=2x4", "of_another_file", ".new-of_another_check"}


@pytest.mark.parametrize(
    ("read", "failure", "began_s_ago", "reason"),
    [
        (None, None, 0, "it is not known what rank 0 read"),
        (RankInputs(unseen="it connects to the network"), None, 0, "it connects to the network"),
        (RankInputs(files=("train.py",)), FAILURE, 0, "rank 0 failed"),
        (RankInputs(files=("train.py",)), None, 7200, "train.py changed during the run"),
        (RankInputs(files=("nope.py",)), None, 0, "nope.py changed during the run"),
    ],
)
def test_what_is_not_kept(
    read: RankInputs | None, failure: ProcessFailure | None, began_s_ago: float, reason: str, job: JobSpec, place: Path
) -> None:
    cache = ResultCache(place / "cache")
    directory, run = ran(job, read, failure)
    with pytest.raises(NotKeptError) as error:
        cache.keep(NAME, job, directory, run, began=time.time() - began_s_ago, seconds=1.0)
    assert str(error.value) == reason
    assert directory.path.exists()
    assert cache.find(NAME, job) is None


def test_an_incomplete_run_is_not_kept(job: JobSpec, place: Path) -> None:
    directory, run = ran(job, inputs(place))
    with pytest.raises(NotKeptError, match="not complete"):
        ResultCache(place / "cache").keep(NAME, job, directory, replace(run, is_complete=False), began=time.time(), seconds=1.0)


def test_a_damaged_record_is_not_read(cache: ResultCache, job: JobSpec) -> None:
    next(Path(".fakerun").rglob("record.json.gz")).write_bytes(b"x")
    found = cache.find(NAME, job)
    assert found is not None
    assert found.read() is None


def test_a_result_is_of_the_run_and_of_what_it_was_held_against(cache: ResultCache, job: JobSpec, place: Path) -> None:
    found = cache.find(NAME, job)
    assert found is not None
    assert found.result("72GiB") is None
    found.keep_result("72GiB", b"passed\nall")
    assert (found.result("72GiB"), found.result("80GiB")) == (b"passed\nall", None)
    again = cache.find(NAME, job)
    assert again is not None
    assert again.result("72GiB") == b"passed\nall", "another process finds it"
    found.keep_result("80GiB", b"failed")
    assert (found.result("72GiB"), found.result("80GiB")) == (None, b"failed"), "one is kept"

    os.utime("train.py", (time.time() - 1800,) * 2)
    directory, run = ran(job, inputs(place))
    kept = cache.keep(NAME, job, directory, run, began=time.time(), seconds=2.5)
    assert kept.result("80GiB") is None, "a new run has no result yet"
    kept.keep_result("80GiB", b"passed")
    assert found.result("80GiB") is None, "another process that still has the old run does not take the result of the new one for its own"
    kept.directory.path.parent.joinpath("result.json").write_bytes(b"\xff\xfe")
    assert kept.result("80GiB") is None
