"""Writing a file whole or not at all; reading one that may be anything; telling one from another."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

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


def identity(file: str | int) -> str | None:
    """What tells what is at a path, a link itself, or is open as a descriptor, from all else, for as long as it exists; None without any.

    The time of birth is part of it where the file system has one: the inode of a removed file is soon another one's.
    """
    call = _statx()
    if call is not None:
        found = ctypes.create_string_buffer(256)
        which = (file, b"", _AT_EMPTY_PATH) if isinstance(file, int) else (_AT_FDCWD, os.fsencode(file), _AT_SYMLINK_NOFOLLOW)
        if call(*which, _STATX_INO | _STATX_BTIME, found) == 0:
            mask, inode = struct.unpack_from("=I", found, 0)[0], struct.unpack_from("=Q", found, 32)[0]
            seconds, nanoseconds = struct.unpack_from("=qI", found, 80) if mask & _STATX_BTIME else (0, 0)
            major, minor = struct.unpack_from("=II", found, 136)
            return f"{major}:{minor} {inode} {seconds}.{nanoseconds:09}"
    try:  # an older C library, or a container that forbids the call
        status = os.fstat(file) if isinstance(file, int) else os.lstat(file)
    except OSError:
        return None
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)} {status.st_ino} 0.{0:09}"


_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x1000
_STATX_INO, _STATX_BTIME = 0x100, 0x800
"""statx(2), linux/stat.h. Python has it from 3.15 on."""


@cache
def _statx() -> Any:
    """The C library's function, None if it has none (glibc before 2.28)."""
    return getattr(ctypes.CDLL(None), "statx", None)
