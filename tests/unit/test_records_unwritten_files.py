"""Changes of files are kept for other ranks; what the script made for stand-ins only is removed at the end."""

from pathlib import Path

from fakerun.records.unwritten_files import Change, FileChange, UnwrittenFiles


def change(kind: Change, path: Path, **fields: object) -> FileChange:
    return FileChange(change=kind, path=str(path), **({"order": (0, 1), "counts": {}} | fields))  # type: ignore[arg-type]


def test_other_ranks_read_what_a_rank_has_changed(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    changes = [
        change(Change.STAND_IN, tmp_path / "a\nb", target="x", counts={"0": 3, "1 0>1 7": 1}, order=(3, 4)),
        change(Change.LINK, tmp_path / "ü", target="a"),
    ]
    for each in changes:
        files.append(3, each)
    assert UnwrittenFiles(tmp_path).changes(3) == tuple(changes)
    assert UnwrittenFiles(tmp_path).changes(3, 1) == tuple(changes[1:])
    assert files.changes(0) == ()
    assert files.ranks() == {3}


def test_a_rank_that_begins_again_has_changed_nothing(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    files.append(0, change(Change.REMOVED, tmp_path / "a"))
    files.begin_rank(0)
    assert files.changes(0) == ()


def test_directories_for_stand_ins_only_are_removed(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    made = [tmp_path / name for name in ("runs", "runs/step-1", "runs/step-2", "kept", "other")]
    for directory in made:
        directory.mkdir()
        files.made.note(str(directory))
        files.append(0, change(Change.DIRECTORY, directory))
    for directory in (made[1], made[3]):
        files.append(1, change(Change.STAND_IN, directory / "model.pt"))
    (tmp_path / "runs" / "step-2" / "notes.txt").touch()
    (tmp_path / "kept" / "notes.txt").touch()
    files.end()
    assert {name for name in (path.name for path in tmp_path.iterdir()) if name != "unwritten"} == {"runs", "kept", "other"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["step-2"]
    assert files.ranks()


def test_nothing_is_left_of_a_run_without_changes(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    files.end()
    assert [path.name for path in (tmp_path).iterdir()] == []


def test_an_empty_directory_that_the_run_did_not_make_stays(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    directory = tmp_path / "step-1"
    directory.mkdir()
    files.made.note(str(directory))
    by_others = tmp_path / "by a training that runs meanwhile"
    by_others.mkdir()  # before the other is removed, so that it gets an inode of its own
    directory.rmdir()
    by_others.rename(directory)
    files.append(0, change(Change.DIRECTORY, directory))
    files.append(0, change(Change.STAND_IN, directory / "model.pt"))
    files.end()
    assert directory.is_dir()


def test_what_an_earlier_run_made_is_the_users(tmp_path: Path) -> None:
    """An interrupted run, which did not end, is resumed."""
    files = UnwrittenFiles(tmp_path)
    files.begin()
    files.made.note(str(tmp_path))
    assert files.made.is_made(str(tmp_path))
    files.begin()
    assert not files.made.is_made(str(tmp_path))


def test_what_was_made_is_not_kept_beyond_the_run(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    files.made.note(str(tmp_path))
    files.append(0, change(Change.STAND_IN, tmp_path / "model.pt"))
    files.end()
    assert [path.name for path in files.directory.iterdir()] == ["rank-00000.jsonl"]
