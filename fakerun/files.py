"""Writing a file whole or not at all; reading one that may be anything."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What link(2) fails with on file systems without them: exFAT, some network and container mounts."""


def write_whole(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write `data`, or its pieces, to `path` atomically: a reader sees the old file or the new one, also after a crash.

    The name of the temporary file contains the process id, so that two processes may write one path at once.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # what write(2) raises
            error.filename = str(path)
        raise


def write_new(path: Path, data: bytes) -> None:
    """Write `data` to a file that is not there yet, atomically where the file system has hard links: a reader sees the whole file or none.

    Raises:
        FileExistsError: it is there, or appears meanwhile.
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            with path.open("xb") as file:
                file.write(data)
    except OSError as error:
        if error.filename is None:  # what write(2) raises
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def read_regular(path: Path, *, most_bytes: int) -> bytes:
    """The bytes of a file; never waits for a pipe, and reads no device and no file without end.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no file, or larger than `most_bytes`. The message says so.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is a device or a pipe, not a file")
        if status.st_size > most_bytes:
            raise ValueError(f"has {status.st_size} bytes; at most {most_bytes} are read")
        return file.read(most_bytes)
