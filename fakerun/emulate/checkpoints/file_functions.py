"""Python's functions on files, as a script uses them for checkpoints: looking, reading, moving, removing, on the overlay and below it.

Ordinary files that a script writes are written. Files that it did not make are moved, replaced and removed in the overlay only: a script
that keeps its last three checkpoints would otherwise remove real ones for the sake of some that are not written.
"""

import builtins
import errno
import io
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from fakerun.emulate.checkpoints.binary_files import BinaryFile
from fakerun.emulate.checkpoints.overlay import Entry, Overlay, not_found
from fakerun.emulate.checkpoints.unwritten import MARK
from fakerun.emulate.context import EmulationContext
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.records.unwritten_files import Change


@contextmanager
def overlaid_files(context: EmulationContext) -> Iterator[None]:
    """Let functions on files see the overlay, until the context ends."""
    overlay = context.part(Overlay)
    reading, writing, directories = _Reading(overlay), _Writing(overlay), Directories(overlay)
    with Patches() as patches:

        def replace(module: ModuleType | type, name: str, answer: Callable[..., Any]) -> None:
            patches.set(module, name, _reporting(answer))

        for module in (builtins, io):
            replace(module, "open", reading.opening(io.open))
        replace(os, "open", writing.opening(os.open))
        for name, follows in (("stat", True), ("lstat", False)):
            replace(os, name, reading.examining(getattr(os, name), follows=follows))
        replace(os, "access", reading.accessing(os.access))
        replace(os, "readlink", reading.reading_link(os.readlink))
        replace(os, "listdir", directories.listing(os.listdir))
        replace(os, "scandir", directories.scanning(os.scandir))
        replace(os, "mkdir", directories.making(os.mkdir))
        replace(os, "rmdir", directories.removing(os.rmdir))
        replace(shutil, "rmtree", directories.removing_tree(shutil.rmtree))
        for name in ("rename", "replace"):
            replace(os, name, writing.moving(getattr(os, name)))
        for name in ("remove", "unlink"):
            replace(os, name, writing.removing(getattr(os, name)))
        for name in ("symlink", "link"):
            replace(os, name, writing.linking(getattr(os, name), is_symbolic=name == "symlink"))
        for name in ("mkfifo", "mknod"):
            replace(os, name, writing.making(getattr(os, name)))
        replace(socket.socket, "bind", writing.binding(socket.socket.bind))
        for name in ("chmod", "utime"):
            replace(os, name, writing.leaving_alone(getattr(os, name)))
        replace(os, "listxattr", writing.leaving_alone(os.listxattr, []))
        replace(shutil, "copyfile", writing.copying(shutil.copyfile))
        replace(time, "sleep", _sleeping(time.sleep, overlay))
        try:
            yield
        finally:
            with overlay.real():
                overlay.close()


def _reporting(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its errors labelled as the script's: they are what the system says of the script's files."""

    @wraps(answer)
    def reported(*args: Any, **kwargs: Any) -> Any:
        try:
            return answer(*args, **kwargs)
        except OSError as error:
            raise as_script_error(error)  # noqa: B904  it is that error

    return reported


def named(path: Any) -> str | None:
    """The path as text; None for a file descriptor, and for bytes, with which no checkpoint is named."""
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    return path if isinstance(path, str) else None


_BEFORE_OPENER = 5
"""How many arguments of `open` lie between the mode and the opener."""


class _Reading:
    """Functions that look at one file."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            path = None if self._overlay.is_real else named(file)
            if path is None:
                return original(file, mode, *args, **kwargs)
            if isinstance(mode, str) and set(mode) & set("wax+"):
                _prepare_to_write(self._overlay, path, mode)
                if set(mode) == {"w", "b"} and {*args, *kwargs.values()} <= {-1, None} and not self._overlay.is_special(path):
                    return BinaryFile(self._overlay, path)
                if len(args) <= _BEFORE_OPENER and kwargs.get("opener") is None:
                    kwargs["opener"] = self._overlay.open
                return original(file, mode, *args, **kwargs)
            return self._answer(path, True, lambda: original(file, mode, *args, **kwargs), lambda at: original(at, mode, *args, **kwargs))

        return open

    def examining(self, original: Callable[..., os.stat_result], *, follows: bool) -> Callable[..., os.stat_result]:
        def examine(path: Any, *, dir_fd: int | None = None, **kwargs: Any) -> os.stat_result:
            name = None if self._overlay.is_real or dir_fd is not None else named(path)
            if name is None:
                return original(path, dir_fd=dir_fd, **kwargs)
            follow = bool(kwargs.get("follow_symlinks", follows))
            return self._answer(name, follow, lambda: self._really(original, path, **kwargs), original, fails=False)  # type: ignore[no-any-return]

        return examine

    def _really(self, original: Callable[..., os.stat_result], path: Any, **kwargs: Any) -> os.stat_result:
        found = original(path, **kwargs)
        if stat.S_ISDIR(found.st_mode) and self._overlay.is_yet_to_be_made(str(named(path))):
            raise not_found(path)
        return found

    def accessing(self, original: Callable[..., bool]) -> Callable[..., bool]:
        def access(path: Any, mode: int, **kwargs: Any) -> bool:
            if not self._overlay.is_real and named(path) is not None:
                try:
                    os.stat(path)  # noqa: PTH116
                except OSError:
                    return False
                if self._overlay.entry(str(named(path))) or self._overlay.is_directory(str(named(path))):
                    return not mode & os.X_OK or self._overlay.is_directory(str(named(path)))
            return original(path, mode, **kwargs)

        return access

    def reading_link(self, original: Callable[..., str]) -> Callable[..., str]:
        def readlink(path: Any, **kwargs: Any) -> str:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            entry = None if name is None else self._overlay.entry(name, follow=False)
            if entry is None:
                return original(path, **kwargs)
            if entry.change is Change.LINK:
                return entry.target
            raise not_found(path) if entry.change is Change.REMOVED else as_script_error(OSError(errno.EINVAL, os.strerror(22), path))

        return readlink

    def _answer(self, path: str, follow: bool, really: Callable[[], Any], instead: Callable[[str], Any], *, fails: bool = True) -> Any:
        """What the function gives for the path: really, or for what stands in its place."""
        for has_asked in (False, True):
            entry = self._overlay.entry(path, follow=follow)
            if entry is not None and entry.change is not Change.REMOVED:
                return _of_link(entry) if entry.change is Change.LINK else instead(entry.target)
            try:
                if entry is not None:
                    raise not_found(path)
                return really()
            except FileNotFoundError:
                if entry is None and self._overlay.is_directory(path):
                    return instead(str(self._overlay.directory))
                if has_asked or not self._overlay.look_again(path, fails=fails):
                    raise
        raise not_found(path)


def _of_link(entry: Entry) -> os.stat_result:
    """What `os.lstat` says of a symbolic link."""
    return os.stat_result((stat.S_IFLNK | 0o777, 0, 0, 1, os.getuid(), os.getgid(), len(entry.target), 0, 0, 0))


def _prepare_to_write(overlay: Overlay, path: str, mode: str) -> None:
    """The script writes an ordinary file, which counts from now on, and may need a directory that is not really there."""
    entry = overlay.entry(path)
    if entry is not None:
        if "x" in mode and entry.change is not Change.REMOVED:
            raise as_script_error(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path))
        overlay.change(overlay.place(path), Change.REAL)
    make_parent_real(overlay, path)


def make_parent_real(overlay: Overlay, path: str) -> None:
    """Make the parent directory, if it is there only because of what lies in it, or see that a peer makes it."""
    place = overlay.place(path)
    parent = os.path.dirname(place)  # noqa: PTH120
    if overlay.has_no_parent(place):
        overlay.look_again(parent, fails=True)
    if overlay.is_directory(parent):
        overlay.make_real(parent)


class Directories:
    """Functions on directories."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def listing(self, original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def listdir(path: Any = None) -> list[Any]:
            name = None if self._overlay.is_real else named("." if path is None else path)
            if name is None:
                return original(path)
            with os.scandir(name) as entries:
                return [entry.name for entry in entries]

        return listdir

    def scanning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scandir(path: Any = None) -> Any:
            name = None if self._overlay.is_real else named("." if path is None else path)
            if name is None:
                return original(path)
            self._overlay.look_into(name)
            changed = self._overlay.names_in(name)
            if not changed and not self._overlay.has_peers:
                return original(path)
            try:
                with original(self._overlay.place(name)) as really:
                    there = {entry.name for entry in really if not self._is_hidden(entry)}
            except FileNotFoundError:
                if all(entry is not None and entry.change is Change.REMOVED for entry in changed.values()):
                    raise  # also without any
                there = set()
            there = {each for each in there if changed.get(each) is None}
            added = [each for each, entry in changed.items() if each not in there and (entry is None or entry.change is not Change.REMOVED)]
            return _Listing([_Entry(name, each) for each in sorted((*there, *added))])

        return scandir

    def _is_hidden(self, entry: "os.DirEntry[str]") -> bool:
        return entry.is_dir(follow_symlinks=False) and self._overlay.is_yet_to_be_made(entry.path)

    def making(self, original: Callable[..., None]) -> Callable[..., None]:
        def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            if name is None:
                original(path, *args, **kwargs)
                return
            place, entry = self._overlay.place(name), self._overlay.entry(name)
            if entry is not None and entry.change is Change.REMOVED:
                self._overlay.change(place, Change.REAL)
                with self._overlay.real():
                    if os.path.isdir(place):  # noqa: PTH112  of the user's, and removed in the overlay only
                        return
            elif self._overlay.is_directory(name):
                raise as_script_error(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path))
            make_parent_real(self._overlay, name)
            with self._overlay.real():
                is_there = os.path.isdir(place)  # noqa: PTH112
            if not is_there or not self._overlay.is_yet_to_be_made(place):
                self._make(path, place, lambda: original(path, *args, **kwargs), is_there=is_there)
            self._overlay.change(place, Change.DIRECTORY)

        return mkdir

    def _make(self, path: Any, place: str, make: Callable[[], None], *, is_there: bool) -> None:
        if not is_there:
            self._overlay.expect(place)
        try:
            with self._overlay.making(place):
                make()
        except FileExistsError:  # of a file, or a peer made the directory since it was looked for
            if self._overlay.has_no_real(place) or not self._overlay.is_yet_to_be_made(place):
                raise

    def removing(self, original: Callable[..., None]) -> Callable[..., None]:
        def rmdir(path: Any, **kwargs: Any) -> None:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            if name is None:
                original(path, **kwargs)
                return
            if os.listdir(name):  # noqa: PTH208
                raise as_script_error(OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path))
            self.drop(name, original)

        return rmdir

    def removing_tree(self, original: Any) -> Any:
        def rmtree(path: Any, ignore_errors: bool = False, *args: Any, **kwargs: Any) -> None:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            if name is None or not os.path.isdir(name) or os.path.islink(name):  # noqa: PTH112, PTH114
                original(path, ignore_errors, *args, **kwargs)
                return
            for directory, directories, files in os.walk(name, topdown=False):
                for each in files:
                    os.unlink(os.path.join(directory, each))  # noqa: PTH108, PTH118
                for each in directories:
                    within = os.path.join(directory, each)  # noqa: PTH118
                    (os.unlink if os.path.islink(within) else os.rmdir)(within)  # noqa: PTH114
            os.rmdir(name)  # noqa: PTH106

        rmtree.avoids_symlink_attacks = original.avoids_symlink_attacks  # type: ignore[attr-defined]
        return rmtree

    def drop(self, path: str, original: Callable[..., None]) -> None:
        """Remove an empty directory; in the overlay only, if the script did not make it."""
        place = self._overlay.place(path)
        if self._overlay.is_made(place):
            with suppress(OSError), self._overlay.removing(place):  # files of the user's are still in it
                original(path)
        if not self._overlay.has_no_real(place):
            self._overlay.change(place, Change.REMOVED)


class _Listing:
    """What `os.scandir` returns."""

    def __init__(self, entries: list["_Entry"]) -> None:
        self._left = iter(entries)

    def __iter__(self) -> "_Listing":
        return self

    def __next__(self) -> "_Entry":
        return next(self._left)

    def __enter__(self) -> "_Listing":
        return self

    def __exit__(self, *error: object) -> None: ...

    def close(self) -> None: ...


class _Entry:
    """As `os.DirEntry`, which Python code cannot make."""

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self.path = os.path.join(directory, name)  # noqa: PTH118

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(stat.S_ISDIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(stat.S_ISREG, follow_symlinks)

    def is_symlink(self) -> bool:
        return self._is(stat.S_ISLNK, False)

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.path) if follow_symlinks else os.lstat(self.path)  # noqa: PTH116

    def inode(self) -> int:
        return self.stat(follow_symlinks=False).st_ino

    def _is(self, kind: Callable[[int], bool], follow: bool) -> bool:
        try:
            return kind(self.stat(follow_symlinks=follow).st_mode)
        except OSError:
            return False


class _Writing:
    """Functions that change what is at a path."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def opening(self, original: Callable[..., int]) -> Callable[..., int]:
        """`os.open`, by which temporary files and locks are made."""

        def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            name = None if self._overlay.is_real or dir_fd is not None else named(path)
            return original(path, flags, mode, dir_fd=dir_fd) if name is None else self._overlay.open(name, flags, mode)

        return open

    def making(self, original: Callable[..., None]) -> Callable[..., None]:
        """Functions that make something other than a file or a directory, and fail if anything is there."""

        def make(path: Any, *args: Any, **kwargs: Any) -> None:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            if name is None:
                original(path, *args, **kwargs)
                return
            with self._overlay.making(self._overlay.place(name, follow=False)):
                original(path, *args, **kwargs)

        return make

    def binding(self, original: Callable[..., None]) -> Callable[..., None]:
        """`socket.bind`, which makes the file of a socket: a worker of a data loader has one."""

        def bind(bound: socket.socket, address: Any) -> None:
            if self._overlay.is_real or bound.family != socket.AF_UNIX or not isinstance(address, str) or address[:1] in ("", "\0"):
                original(bound, address)
                return
            with self._overlay.making(self._overlay.place(address, follow=False)):
                original(bound, address)

        return bind

    def moving(self, original: Callable[..., None]) -> Callable[..., None]:
        """`os.rename` and `os.replace`: scripts write a checkpoint to a temporary path and move it into place."""

        def move(src: Any, dst: Any, **kwargs: Any) -> None:
            source, target = named(src), named(dst)
            if self._overlay.is_real or any(each is not None for each in kwargs.values()) or source is None or target is None:
                original(src, dst, **kwargs)
                return
            os.lstat(src)  # what is not there may be a peer's, or is reported
            at, to = self._overlay.place(source, follow=False), self._overlay.place(target, follow=False)
            if at == to:
                return
            if self._overlay.has_no_real(at) and not self._overlay.can_hold(to):
                raise not_found(dst)
            is_there = self._overlay.entry(source, follow=False) is None and not self._overlay.has_no_real(at)
            if is_there and self._overlay.entry(target, follow=False) is None:
                self._check_kinds(at, to, original)
            left = self._move_really(at, to, original) if is_there else []
            self._overlay.move(at, to)
            for each in left:
                self._overlay.change(to + each[len(at) :], Change.STAND_IN, each)
                self._overlay.change(each, Change.REMOVED)
            self._overlay.remove_what_is_left(at)

        return move

    def _check_kinds(self, at: str, to: str, original: Callable[..., None]) -> None:
        """Raise what the system raises if one is a directory and the other is not, or the other one is not empty."""
        with self._overlay.real():
            are_directories = [os.path.isdir(each) and not os.path.islink(each) for each in (at, to)]  # noqa: PTH112, PTH114
        if not self._overlay.has_no_real(to) and are_directories[0] != are_directories[1]:
            original(at, to)
        if all(are_directories) and os.listdir(to):  # noqa: PTH208
            raise as_script_error(OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), at, None, to))

    def _move_really(self, at: str, to: str, original: Callable[..., None]) -> list[str]:
        """Move what the script made, unless something of the user's is at `to`. The files that stay, and are to be seen at `to`."""
        with self._overlay.real():
            is_file = os.path.isfile(at) and not os.path.islink(at)  # noqa: PTH113, PTH114
            is_stand_in = is_file and _begins_with_mark(at)
        if self._overlay.is_wholly_made(at):
            if not is_stand_in and self._overlay.can_be_replaced(to):
                make_parent_real(self._overlay, to)
                with self._overlay.moving(at, to):
                    original(at, to)
                self._overlay.change(to, Change.REAL)
                return []
            if is_file:
                self._overlay.stand_in(to, self._overlay.taken(at))
                return []
        with self._overlay.real():
            files = [at] if os.path.isfile(at) else [str(each) for each in Path(at).rglob("*") if each.is_file()]  # noqa: PTH113
            directories = [directory for directory, _, _ in os.walk(at)]
        left = [each for each in files if self._overlay.entry(each, follow=False) is None]
        for each in directories:
            if os.path.isdir(each):  # noqa: PTH112
                os.makedirs(to + each[len(at) :], exist_ok=True)  # noqa: PTH103
        self._overlay.change(at, Change.REMOVED)
        return left

    def removing(self, original: Callable[..., None]) -> Callable[..., None]:
        """`os.remove`: scripts keep the last few checkpoints."""

        def remove(path: Any, **kwargs: Any) -> None:
            name = None if self._overlay.is_real or kwargs.get("dir_fd") is not None else named(path)
            if name is None:
                original(path, **kwargs)
                return
            os.lstat(path)  # as above
            place = self._overlay.place(name, follow=False)
            if self._overlay.entry(name, follow=False) is None and not self._overlay.is_the_users(place):
                with self._overlay.removing(place):
                    original(place)
            else:
                self._overlay.change(place, Change.REMOVED)
                self._overlay.remove_what_is_left(place)

        return remove

    def linking(self, original: Callable[..., None], *, is_symbolic: bool) -> Callable[..., None]:
        """`os.symlink` and `os.link`: scripts name the latest checkpoint."""

        def link(src: Any, dst: Any, *args: Any, **kwargs: Any) -> None:
            source, target = named(src), named(dst)
            is_relative = any(kwargs.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd"))
            if self._overlay.is_real or is_relative or source is None or target is None:
                original(src, dst, *args, **kwargs)
                return
            if not self._is_overlaid(source, target):
                with self._overlay.making(self._overlay.place(target, follow=False)):
                    original(src, dst, *args, **kwargs)
                return
            if os.path.lexists(dst):
                raise as_script_error(FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), src, None, dst))
            at = self._overlay.place(target, follow=False)
            entry = self._overlay.entry(source)
            if is_symbolic:
                self._overlay.change(at, Change.LINK, source)
            elif entry is not None:
                self._overlay.change(at, entry.change, entry.target)

        return link

    def _is_overlaid(self, source: str, target: str) -> bool:
        """Whether a link from `target` would point to what is in the overlay, or lie there."""
        pointed_to = os.path.join(os.path.dirname(target), source)  # noqa: PTH118, PTH120
        if self._overlay.entry(target, follow=False) is not None:
            return True
        return self._overlay.entry(pointed_to) is not None or self._overlay.is_directory(pointed_to)

    def copying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`shutil.copyfile`, which all its functions that copy a file call."""

        def copyfile(src: Any, dst: Any, **kwargs: Any) -> Any:
            source, target = named(src), named(dst)
            entry = None
            if not self._overlay.is_real and source is not None and target is not None:
                os.stat(src)  # noqa: PTH116  as above
                entry = self._overlay.entry(source)
            if entry is None:
                return original(src, dst, **kwargs)
            place = self._overlay.place(str(target))
            if not self._overlay.can_hold(place):
                raise not_found(dst)
            self._overlay.change(place, entry.change, entry.target)
            return dst

        return copyfile

    def leaving_alone(self, original: Callable[..., Any], answer: Any = None) -> Callable[..., Any]:
        """Functions on what is known of a file beside its content: of a file in the overlay, nothing."""

        def change(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            name = None if self._overlay.is_real else named(path)
            if name is None or self._overlay.entry(name) is None:
                return original(path, *args, **kwargs)
            return answer

        return change


def _begins_with_mark(place: str) -> bool:
    """Whether the script wrote a stand-in into this file, a temporary one, itself."""
    with Path(place).open("rb") as file:
        return file.read(len(MARK)) == MARK


def _sleeping(original: Callable[[float], None], overlay: Overlay) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        overlay.slept()
        original(seconds)

    return sleep
