"""Whose code a file is, and what a place in it is called: the one rule behind every `call_site`.

A room of its own, free of torch, because three rooms look at frames: the trace while the script runs, the rank for its tracebacks,
the launcher for what is left of a crash. Knows the machine's directories; knows nothing of frames.
"""

import importlib.util
import os
import re
import sysconfig
from collections.abc import Iterable
from enum import Enum, auto
from functools import cache
from pathlib import Path

import fakerun


class Owner(Enum):
    """Whose code a file is."""

    FAKERUN = auto()
    TORCH = auto()
    INSTALLED = auto()
    """Another package in site-packages."""
    PYTHON = auto()
    """The standard library, and code that lies in no file."""
    USER = auto()
    """The rest."""


def directory(path: str | Path) -> str:
    """The path without links, and with a slash at its end: what paths below it start with."""
    return os.path.join(os.path.realpath(path), "")  # noqa: PTH118


_FAKERUN = directory(Path(fakerun.__file__).parent)
_PYTHON = tuple(directory(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_SITE_PACKAGES = re.compile(r"^(?:.*/)?(?:site|dist)-packages/")


@cache
def owner(filename: str) -> Owner:
    """Whose the code is that has this file name (`co_filename`)."""
    if filename.startswith("<"):
        return Owner.PYTHON
    path = os.path.realpath(filename)
    # The most specific first: torch lies below site-packages as a rule, and these may lie below the standard library.
    if path.startswith(_FAKERUN):
        return Owner.FAKERUN
    if path.startswith(_torch()):
        return Owner.TORCH
    if _SITE_PACKAGES.match(path):
        return Owner.INSTALLED
    return Owner.PYTHON if path.startswith(_PYTHON) else Owner.USER


@cache
def _torch() -> tuple[str, ...]:
    """Where torch lies: found, not imported."""
    try:
        spec = importlib.util.find_spec("torch")
    except ValueError:  # a script put something without a spec in its place
        return ()
    return tuple(map(directory, (spec and spec.submodule_search_locations) or ()))


class Places:
    """Names places as `file:line`: the file relative to the directory that the job was started in, else to the script's, else as it is
    imported, else by its name alone.
    """

    def __init__(self, working_directory: Path, script: Path | None) -> None:
        script_directory = working_directory if script is None else (working_directory / script).parent
        self._bases = (directory(working_directory), directory(script_directory))

    def name(self, filename: str, line: int | None) -> str:
        """The place's name; whether it is the user's is not asked."""
        path = os.path.realpath(filename)
        base = next((base for base in self._bases if path.startswith(base)), None)
        # A virtual environment may lie in the directory that the job was started in.
        file = _SITE_PACKAGES.sub("", path if base is None else path.removeprefix(base))
        return f"{os.path.basename(file) if file == path else file}:{line or 0}"  # noqa: PTH119

    def innermost(self, calls: Iterable[tuple[str, int]]) -> str | None:
        """The user's innermost place among calls (file name and line, outermost first).

        Where no call is the user's, the innermost one in an installed package stands in: the program itself may be one.
        """
        users = installed = None
        for call in calls:
            whose = owner(call[0])
            if whose is Owner.USER:
                users = call
            elif whose is Owner.INSTALLED:
                installed = call
        found = users or installed
        return self.name(*found) if found is not None else None
