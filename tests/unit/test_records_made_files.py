"""What a run made is told from what others made, at the same path, with the same inode, at the same time."""

import errno
import os
from pathlib import Path

import pytest

from fakerun import files as files_module
from fakerun.records.made_files import MadeFiles


@pytest.fixture
def made(tmp_path: Path) -> MadeFiles:
    files = MadeFiles(tmp_path / "made")
    files.begin()
    return files


def marks(tmp_path: Path) -> int:
    return -1 + sum(1 for _ in (tmp_path / "made").iterdir())


def test_only_what_was_noted_was_made(made: MadeFiles, tmp_path: Path) -> None:
    ours, users = tmp_path / "ours", tmp_path / "users"
    for path in (ours, users):
        path.touch()
    made.note(str(ours))
    assert made.is_made(str(ours))
    assert not made.is_made(str(users))
    assert MadeFiles(tmp_path / "made").is_made(str(ours))  # another process of the run
    with made.removing(str(ours)):
        ours.unlink()
    assert (made.is_made(str(ours)), marks(tmp_path)) == (False, 0)


def test_what_replaces_it_is_not_it(made: MadeFiles, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number in range(100):
        path.touch()
        made.note(str(path))
        (tmp_path / f"kept-{number}").hardlink_to(path)  # so that its inode is not given away within a tick of the file system's clock
        (tmp_path / "new").touch()
        (tmp_path / "new").replace(path)
        assert not made.is_made(str(path)), number
        path.unlink()
        assert not made.is_made(str(path)), number


def test_a_file_with_the_inode_of_a_removed_one_is_not_it(made: MadeFiles, tmp_path: Path) -> None:
    """File systems give an inode away at once, and their clock advances every few milliseconds only."""
    path, other = tmp_path / "file", tmp_path / "other"
    path.touch()
    made.note(str(path))
    first = path.stat()
    other.touch()
    while other.stat().st_ctime_ns <= first.st_ctime_ns:
        os.utime(other)
    path.unlink()
    path.touch()
    if path.stat().st_ino == first.st_ino and files_module.identity(str(path)).endswith(" 0.000000000"):  # type: ignore[union-attr]
        pytest.skip("this file system keeps no time of birth")
    assert not made.is_made(str(path))


def test_links_are_not_followed_and_a_name_of_the_same_file_is_another_one(made: MadeFiles, tmp_path: Path) -> None:
    users, link, name = tmp_path / "users", tmp_path / "link", tmp_path / "name"
    users.touch()
    link.symlink_to("users")
    made.note(str(link))
    name.hardlink_to(users)
    made.note(str(name))
    assert [made.is_made(str(path)) for path in (users, link, name)] == [False, True, True]


def test_a_file_is_known_as_the_one_that_was_opened(made: MadeFiles, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        made.note(str(path), file.fileno())
        assert made.is_made(str(path))
        path.unlink()
        path.touch()
        assert not made.is_made(str(path))
        made.note(str(path), file.fileno())  # what is at the path since is another one
        assert not made.is_made(str(path))


def test_nothing_grows_while_a_file_is_made_and_removed_again(made: MadeFiles, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(20):
        path.touch()
        made.note(str(path))
        made.note(str(path))
        assert marks(tmp_path) == 1
        with made.removing(str(path)):
            path.unlink()
    assert marks(tmp_path) == 0


def test_a_directory_that_is_expected_is_made_once_it_is_there(made: MadeFiles, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    assert not made.is_expected(str(directory))
    made.expect(str(directory))
    directory.mkdir()
    assert (made.is_expected(str(directory)), made.is_made(str(directory))) == (True, False)
    made.note(str(directory))
    made.expect(str(directory))  # another rank, which comes too late
    assert (made.is_expected(str(directory)), made.is_made(str(directory))) == (True, True)


def test_what_cannot_be_noted_is_the_users(made: MadeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()

    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "open", full)
    made.note(str(path))
    made.expect(str(tmp_path / "directory"))
    assert not made.is_made(str(path))


def test_marks_need_no_hard_links(made: MadeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system has none, or has reached how many names it gives a file: 65,000 for ext4."""

    def refused(*arguments: object, **named: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "file"
    path.touch()
    made.note(str(path))
    made.note(str(path))
    assert (made.is_made(str(path)), marks(tmp_path)) == (True, 1)


def test_what_is_moved_with_all_below_it_was_made_where_it_is_then(made: MadeFiles, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    made.expect(str(before))
    before.mkdir()
    (before / "file").touch()
    for each in (before, before / "file"):
        made.note(str(each))
    kept = marks(tmp_path)
    assert made.is_wholly_made(str(before))
    with pytest.raises(OSError, match="refused"), made.moving(str(before), str(after)):
        raise OSError("refused")
    assert made.is_wholly_made(str(before))
    with made.moving(str(before), str(after)):
        before.rename(after)
    assert (made.is_wholly_made(str(after)), made.is_expected(str(after)), made.is_expected(str(before))) == (True, True, False)
    assert marks(tmp_path) == kept
    (after / "of-the-user").touch()
    assert (made.is_made(str(after)), made.is_wholly_made(str(after))) == (True, False)


def test_without_times_of_birth_the_inode_tells(made: MadeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_statx", lambda: None)
    path = tmp_path / "file"
    with path.open("w") as file:
        made.note(str(path), file.fileno())
    (tmp_path / "new").touch()
    assert made.is_made(str(path))
    (tmp_path / "new").replace(path)
    assert not made.is_made(str(path))
    assert files_module.identity(str(tmp_path / "none")) is None
