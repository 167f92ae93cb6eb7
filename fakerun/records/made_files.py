"""Which files, links and directories the ranks of a run made: only these may really be moved, replaced and removed.

    unwritten/made/<hash>    a mark: what has this identity was made at this path, or a directory is expected there

Whatever else exists is the user's. Neither a path nor a time tells: a training that writes into the same directory meanwhile makes files
under the names that the script uses, and a file server's clock may be ahead. A mark is there for each file that the script made and has not
removed, so nothing grows while a file is written again, and all processes of the run see it at once. All marks are one file: that of an
inode of its own takes a file system as long as the script's file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from fakerun.files import identity


class MadeFiles:
    """What was made, below `directory`, which need not exist: then nothing was, and nothing can be noted.

    Paths are absolute and without links in their parents. What cannot be noted, because the disk is full, is the user's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = os.fspath(directory)

    def begin(self) -> None:
        """Nothing was made yet."""
        os.mkdir(self._directory)  # noqa: PTH102
        Path(self._mark).touch()

    def expect(self, path: str) -> None:
        """The directory `path` is about to be made."""
        self._set(self._expected(path))

    def is_expected(self, path: str) -> bool:
        """Whether a rank makes, or made, the directory `path`, whatever is there now."""
        return os.path.lexists(self._expected(path))

    def note(self, path: str, descriptor: int | None = None) -> None:
        """A rank has made what is at `path`, which `descriptor` is open on."""
        made = identity(path if descriptor is None else descriptor)
        if made is not None:
            self._set(self._made(path, made))

    def is_made(self, path: str) -> bool:
        """Whether a rank made what is at `path` now."""
        there = identity(path)
        return there is not None and os.path.lexists(self._made(path, there))

    def is_wholly_made(self, path: str) -> bool:
        """Whether ranks made what is at `path` now, and all that is below it."""
        return all(map(self.is_made, _with_all_below(path)))

    @contextmanager
    def removing(self, path: str) -> Iterator[None]:
        """What is at `path`, which was made, is removed in this context, unless it raises."""
        there = identity(path)
        yield
        with suppress(OSError):
            os.unlink(self._made(path, str(there)))  # noqa: PTH108
            os.unlink(self._expected(path))  # noqa: PTH108

    @contextmanager
    def moving(self, path: str, target: str) -> Iterator[None]:
        """What is at `path`, and all below it, was made, and is moved to `target` in this context, unless it raises."""
        moved = [(each, str(identity(each))) for each in _with_all_below(path)]
        yield
        for each, there in moved:
            to = target + each[len(path) :]
            with suppress(OSError):
                os.rename(self._made(each, there), self._made(to, there))  # noqa: PTH104
                os.rename(self._expected(each), self._expected(to))  # noqa: PTH104

    @property
    def _mark(self) -> str:
        return os.path.join(self._directory, "mark")  # noqa: PTH118

    def _set(self, name: str) -> None:
        try:
            os.link(self._mark, name)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links, or with few of one file
            with suppress(OSError):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT))

    def _made(self, path: str, there: str) -> str:
        return self._name(f"{there} ", path)

    def _expected(self, path: str) -> str:
        return self._name("expected ", path)

    def _name(self, what: str, path: str) -> str:
        return os.path.join(self._directory, blake2b(what.encode() + os.fsencode(path), digest_size=20).hexdigest())  # noqa: PTH118


def _with_all_below(path: str) -> Iterator[str]:
    """What is at `path`, and below it if it is a directory and no link."""
    yield path
    if not os.path.islink(path):  # noqa: PTH114
        for directory, *names in os.walk(path):
            yield from (os.path.join(directory, name) for name in chain(*names))  # noqa: PTH118
