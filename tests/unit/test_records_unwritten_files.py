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
    began = files.begin()
    files.append(0, change(Change.REMOVED, tmp_path / "a"))
    files.begin_rank(0)
    assert (files.changes(0), files.begin()) == ((), began)


def test_directories_for_stand_ins_only_are_removed(tmp_path: Path) -> None:
    files = UnwrittenFiles(tmp_path)
    files.begin()
    made = [tmp_path / name for name in ("runs", "runs/step-1", "runs/step-2", "kept", "other")]
    for directory in made:
        directory.mkdir()
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


def test_what_is_from_before_is_told_from_what_follows_at_once(tmp_path: Path) -> None:
    """The clock of files is coarse: one made in its last interval before the run has the time of the mark itself."""
    for number in range(100):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "before").touch()
        began = UnwrittenFiles(directory).begin()
        (directory / "after").touch()
        assert (directory / "before").stat().st_ctime_ns <= began < (directory / "after").stat().st_ctime_ns
