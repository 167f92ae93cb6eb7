"""What a rank's program read that the job does not say: files, directories, variables. `RankInputs` in a file beside its record.

Seen are what Python is asked for, also what is not there: a file that is looked for in vain, a module that may be missing. Files that
native code reads, and the network, are not; other processes are not followed, and said.
"""

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

from fakerun.call_site import Owner, directory, owner
from fakerun.files import write_whole
from fakerun.patching import Patches
from fakerun.records.inputs import RankInputs

MOST_FILES = 10_000
"""Of a program whose files are listed, those it looked for included; of one with more nobody wants to read them all again."""

_STARTS_A_PROCESS = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"})
_MAKES_ITS_SECOND = frozenset({"os.rename", "os.link", "os.symlink"})
"""The events of functions that make what their second argument names; `os.replace` has that of `os.rename`."""
_OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")
_READ_ONLY = os.O_RDONLY
_ACCESS = os.O_ACCMODE
_IMPORTER = "<frozen importlib._bootstrap_external>"
_METADATA = os.path.dirname(importlib.metadata.__file__)  # noqa: PTH120
_FRAMES_OF_A_LISTING = 6
"""Of the function that is called to list a directory, and of those that are in its place."""


class InputRecorder:
    """Notes what this process reads from `install` on. Python cannot stop an audit hook: there is one of these in a process.

    What is in the run directory is fakerun's own, and none of it.
    """

    def __init__(self, run_directory: Path) -> None:
        self._own = directory(run_directory)
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._listed: set[str] = set()
        self._looked_for: set[str] = set()
        self._submodules: set[str] = set()
        self._made: set[str] = set()
        self._variables: set[str] = set()
        self._lists_variables = False
        self._unseen = ""
        self._is_done = False

    def install(self) -> None:
        """Begin."""
        sys.addaudithook(self._hook)

    @contextmanager
    def requests_noted(self) -> Iterator[None]:
        """Note what is asked of Python that it does not audit: variables, whether they are set or not, and files that are looked for."""
        with Patches() as patches:
            for variables in (os.environ, os.environb):
                patches.set(variables, "encodekey", self._noting_variable(variables.encodekey))
            patches.set(type(os.environ), "__iter__", self._noting_all_variables(type(os.environ).__iter__))
            for name in ("stat", "lstat", "access", "readlink"):
                patches.set(os, name, self._noting_path(getattr(os, name)))
            yield

    def _noting_variable(self, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def encodekey(name: Any) -> Any:
            if isinstance(name, str | bytes):
                self._variables.add(os.fsdecode(name))
            return encode(name)

        return encodekey

    def _noting_all_variables(self, names: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        def __iter__(variables: Any) -> Iterator[Any]:  # noqa: N807 - its name
            self._lists_variables = True
            return names(variables)

        return __iter__

    def _noting_path(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def noting(path: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._is_done and not isinstance(path, int) and kwargs.get("dir_fd") is None:
                self._look_for(path)
            return original(path, *args, **kwargs)

        return noting

    def inputs(self) -> RankInputs:
        """What was read until now."""
        self._is_done = True
        self._look_for_submodules()
        modules = [file for module in tuple(sys.modules.values()) if isinstance(file := getattr(module, "__file__", None), str)]
        read = {*map(_source, self._read - self._written), *map(os.path.abspath, modules)}
        files = {path for path in read if self._is_the_users(path) and os.path.exists(path)}  # noqa: PTH110
        looked_for = set(filter(self._is_the_users, self._looked_for | (read - files))) - files - self._listed
        too_many = len(files) + len(looked_for) > MOST_FILES
        unseen = self._unseen or (f"it reads more than {MOST_FILES} files" if too_many else "")
        return RankInputs(
            files=tuple(sorted(files)) if not unseen else (),
            directories=tuple(sorted(filter(self._is_the_users, self._listed))),
            looked_for=tuple(sorted(looked_for)) if not unseen else (),
            made=tuple(sorted(filter(self._is_the_users, self._made | self._written))) if not unseen else (),
            variables=tuple(sorted(self._variables)),
            lists_variables=self._lists_variables,
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
        elif event == "import":
            self._imported(arguments[0], arguments[2])
        elif event == "os.mkdir":
            self._make(arguments[0])
        elif event in _MAKES_ITS_SECOND:
            self._changed(os.path.abspath(os.fsdecode(arguments[1])))  # noqa: PTH100
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
        if isinstance(flags, int) and flags & _ACCESS != _READ_ONLY and not _is_update(flags):
            self._changed(absolute)
        elif absolute not in self._written:
            self._read.add(absolute)

    def _changed(self, absolute: str) -> None:
        if absolute in self._read and self._is_the_users(absolute) and os.path.exists(absolute):  # noqa: PTH110
            self._unseen = self._unseen or f"it changes {absolute}, which it has read"
        self._written.add(absolute)

    def _imported(self, name: str, path: Any) -> None:
        """A module is looked for: where another one may come to be found, or this one at all. Its package may be yet to be imported."""
        top, *_ = parts = name.split(".")
        self._look_for_module(top, path)
        self._submodules.update(".".join(parts[:end]) for end in range(2, len(parts) + 1))

    def _look_for_module(self, name: str, places: Any) -> None:
        for place in places or ():
            if isinstance(place, str):
                for file in (f"{name}.py", f"{name}/__init__.py"):
                    self._look_for(os.path.join(place, file))  # noqa: PTH118

    def _look_for_submodules(self) -> None:
        for package, _, name in (each.rpartition(".") for each in self._submodules):
            # Of its own: torch.classes makes an object of any name that it is asked for.
            self._look_for_module(name, getattr(sys.modules.get(package), "__dict__", {}).get("__path__"))

    def _look_for(self, path: Any) -> None:
        try:
            absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        except (TypeError, OSError):  # no path, or nowhere
            return
        self._looked_for.add(absolute)

    def _make(self, path: Any) -> None:
        absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if not os.path.isdir(absolute):  # noqa: PTH112
            self._made.add(absolute)

    def _listed_directory(self, path: Any) -> None:
        if isinstance(path, int) or _is_looking_for_modules(sys._getframe(2)):  # noqa: SLF001
            return
        self._listed.add(os.path.abspath(os.fsdecode(path or ".")))  # noqa: PTH100

    def _is_the_users(self, path: str) -> bool:
        """Whether it is neither Python's, nor of an installed package, nor of the system's, nor of the run."""
        return owner(path) is Owner.USER and not f"{path}/".startswith((*_OF_THE_SYSTEM, self._own))


def _is_looking_for_modules(frame: FrameType | None) -> bool:
    """Whether the import system lists a directory, or what looks for the metadata of packages."""
    for _ in range(_FRAMES_OF_A_LISTING):
        if frame is None:
            return False
        if frame.f_code.co_filename == _IMPORTER or frame.f_code.co_filename.startswith(_METADATA):
            return True
        frame = frame.f_back
    return False


def _is_update(flags: int) -> bool:
    """Whether a file is opened as with `r+`: what is in it is read, and then perhaps changed."""
    return flags & _ACCESS == os.O_RDWR and not flags & (os.O_CREAT | os.O_TRUNC)


def _source(path: str) -> str:
    """The source of a compiled file, if it is one."""
    try:
        return source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:
        return path
