"""What a rank's program read that the job does not say: files, directories, variables. `RankInputs` in a file beside its record.

Seen are what Python is asked for. Files that native code reads, and the network, are not; other processes are not followed, and said.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from fakerun.call_site import Owner, owner
from fakerun.files import write_whole
from fakerun.patching import Patches
from fakerun.records.inputs import RankInputs

MOST_FILES = 10_000
"""Of a program whose files are listed; of one with more nobody wants to read them all again."""

_STARTS_A_PROCESS = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"})
_OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")
_READ_ONLY = os.O_RDONLY
_ACCESS = os.O_ACCMODE
_IMPORTER = "<frozen importlib._bootstrap_external>"


class InputRecorder:
    """Notes what this process reads from `install` on. Python cannot stop an audit hook: there is one of these in a process."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._listed: set[str] = set()
        self._variables: set[str] = set()
        self._unseen = ""
        self._is_done = False

    def install(self) -> None:
        """Begin."""
        sys.addaudithook(self._hook)

    @contextmanager
    def variables_noted(self) -> Iterator[None]:
        """Note the names of variables that are asked for, whether they are set or not."""
        encode: Callable[[Any], Any] = os.environ.encodekey

        def encodekey(name: Any) -> Any:
            if isinstance(name, str):
                self._variables.add(name)
            return encode(name)

        with Patches() as patches:
            patches.set(os.environ, "encodekey", encodekey)
            yield

    def inputs(self) -> RankInputs:
        """What was read until now."""
        self._is_done = True
        modules = [file for module in tuple(sys.modules.values()) if isinstance(file := getattr(module, "__file__", None), str)]
        files = {path for path in (*map(_source, self._read - self._written), *map(os.path.abspath, modules)) if _is_of_interest(path)}
        unseen = self._unseen or (f"it reads more than {MOST_FILES} files" if len(files) > MOST_FILES else "")
        return RankInputs(
            files=tuple(sorted(files)) if not unseen else (),
            directories=tuple(sorted(path for path in self._listed if _is_of_interest(path))),
            variables=tuple(sorted(self._variables)),
            unseen=unseen,
        )

    def write(self, path: Path) -> None:
        """Write them down."""
        write_whole(path, json.dumps(self.inputs().as_json()).encode(errors="surrogateescape"))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_done:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in ("os.listdir", "os.scandir"):
            self._listed_directory(arguments[0])
        elif event in _STARTS_A_PROCESS:
            self._unseen = self._unseen or f"it starts other processes ({event})"
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self._unseen = self._unseen or "it connects to the network"

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes):  # a descriptor
            return
        absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if isinstance(flags, int) and flags & _ACCESS != _READ_ONLY:
            if absolute in self._read and _is_of_interest(absolute):
                self._unseen = self._unseen or f"it changes {absolute}, which it has read"
            self._written.add(absolute)
        elif absolute not in self._written:
            self._read.add(absolute)

    def _listed_directory(self, path: Any) -> None:
        if isinstance(path, int) or sys._getframe(2).f_code.co_filename == _IMPORTER:  # noqa: SLF001 - the import system looks for modules
            return
        self._listed.add(os.path.abspath(os.fsdecode(path or ".")))  # noqa: PTH100


def _source(path: str) -> str:
    """The source of a compiled file, if it is one."""
    try:
        return source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:
        return path


def _is_of_interest(path: str) -> bool:
    """Whether it is neither Python's, nor of an installed package, nor of the system's."""
    return owner(path) is Owner.USER and not path.startswith(_OF_THE_SYSTEM) and os.path.exists(path)  # noqa: PTH110
