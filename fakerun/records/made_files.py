"""Which files, links and directories the ranks of a run made: only these may really be moved, replaced and removed.

    unwritten/made/<hash of the path>    a symbolic link that says which file was made there: device, inode, time of birth

Whatever else exists is the user's. Neither a path nor a time tells: a training that writes into the same directory meanwhile makes files
under the names that the script uses, and a file server's clock may be ahead. A link is there for each file that the script made and has not
removed, so nothing grows while a file is written again, and all processes of the run see it at once. A link without blocks of its own
suffices where a small file would take one.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from fakerun.files import identity

_YET_TO_BE_MADE = "-"


class MadeFiles:
    """What was made, below `directory`, which need not exist: then nothing was, and nothing can be noted.

    Paths are absolute and without links in their parents. What cannot be noted, because the disk is full, is the user's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = os.fspath(directory)

    def expect(self, path: str) -> None:
        """The directory `path` is about to be made."""
        with suppress(OSError):
            os.symlink(_YET_TO_BE_MADE, self._link(path))  # noqa: PTH211

    def note(self, path: str, descriptor: int | None = None) -> None:
        """A rank has made what is at `path`, which `descriptor` is open on."""
        made = identity(path if descriptor is None else descriptor)
        if made is not None:
            self.forget(path)
            with suppress(OSError):
                os.symlink(made, self._link(path))  # noqa: PTH211

    def forget(self, path: str) -> None:
        """It is no longer there."""
        with suppress(OSError):
            os.unlink(self._link(path))  # noqa: PTH108

    def is_expected(self, path: str) -> bool:
        """Whether a rank makes, or made, the directory `path`, whatever is there now."""
        return self._noted(path) is not None

    def is_made(self, path: str) -> bool:
        """Whether a rank made what is at `path` now."""
        noted = self._noted(path)
        return noted is not None and noted == identity(path)

    def _noted(self, path: str) -> str | None:
        try:
            return os.readlink(self._link(path))  # noqa: PTH115
        except OSError:
            return None

    def _link(self, path: str) -> str:
        return os.path.join(self._directory, blake2b(os.fsencode(path), digest_size=20).hexdigest())  # noqa: PTH118
