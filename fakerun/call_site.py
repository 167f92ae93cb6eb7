"""CallSite: a line of the user's program, and the rules that select it: which code owns a file, and how its path is shown.

On the ground floor and free of torch, because three rooms inspect frames: `trace` while the script runs, `rank` for tracebacks, `launch`
for the log of a crash. It knows the directories of the machine, but no frames.
"""

import importlib.util
import os
import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import fakerun


class Owner(Enum):
    """The owner of a source file."""

    FAKERUN = auto()
    TORCH = auto()
    INSTALLED = auto()
    """Another package in site-packages."""
    PYTHON = auto()
    """The standard library, and code without a file."""
    USER = auto()
    """The rest."""


def directory(path: str | Path) -> str:
    """The resolved path with a trailing slash: the prefix of all paths below it."""
    return os.path.join(os.path.realpath(path), "")  # noqa: PTH118


_FAKERUN = directory(Path(fakerun.__file__).parent)
_PYTHON = tuple(directory(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_SITE_PACKAGES = re.compile(r"^(?:.*/)?(?:site|dist)-packages/")


@cache
def owner(filename: str) -> Owner:
    """The owner of code with this file name (`co_filename`)."""
    if filename.startswith("<"):
        return Owner.PYTHON
    path = os.path.realpath(filename)
    # The most specific first: torch is usually below site-packages, which may be below the standard library.
    if path.startswith(_FAKERUN):
        return Owner.FAKERUN
    if path.startswith(_torch()):
        return Owner.TORCH
    if _SITE_PACKAGES.match(path):
        return Owner.INSTALLED
    return Owner.PYTHON if path.startswith(_PYTHON) else Owner.USER


@cache
def _torch() -> tuple[str, ...]:
    """The directories of torch; it is not imported."""
    try:
        spec = importlib.util.find_spec("torch")
    except ValueError:  # a script replaced torch by something without a spec
        return ()
    return tuple(map(directory, (spec and spec.submodule_search_locations) or ()))


@dataclass(frozen=True, slots=True)
class CallSite:
    """A line of a program: the file as `CallSiteResolver` shows it, the line (0 if unknown), and the function that the line is in.

    `str()` is `path:line`, as compilers and editors write it. Two sites are equal if file and line are.
    """

    path: str
    line: int
    function: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A record stores a site as one string, decoded once: a rank has some hundred thousand calls and blocks, but some hundred sites."""
        from pydantic_core import core_schema

        to_text = core_schema.plain_serializer_function_ser_schema(_encoded)
        return core_schema.no_info_plain_validator_function(_decoded, serialization=to_text)


def _encoded(site: CallSite) -> str:
    return f"{site.path}:{site.line}:{site.function or ''}"


@lru_cache(maxsize=4096)
def _decoded(text: str | CallSite) -> CallSite:
    if isinstance(text, CallSite):
        return text
    path, line, function = text.rsplit(":", 2)
    return CallSite(path, int(line), function or None)


class CallSiteResolver:
    """Creates call sites. A path is shown relative to the working directory of the job, else to the script's directory, else to
    site-packages, else as the file name alone.
    """

    def __init__(self, working_directory: Path, script: Path | None) -> None:
        script_directory = working_directory if script is None else (working_directory / script).parent
        self._bases = (directory(working_directory), directory(script_directory))

    def site(self, filename: str, line: int | None, function: str | None = None) -> CallSite:
        """The site of a line of any code."""
        path = os.path.realpath(filename)
        base = next((base for base in self._bases if path.startswith(base)), None)
        # The working directory of the job may contain a virtual environment.
        file = _SITE_PACKAGES.sub("", path if base is None else path.removeprefix(base))
        return CallSite(os.path.basename(file) if file == path else file, line or 0, function)  # noqa: PTH119

    def innermost(self, calls: Iterable[tuple[str, int, str | None]]) -> CallSite | None:
        """The innermost call of the user's code among `calls` (file name, line and function, outermost first).

        If no call is in the user's code, the innermost one in an installed package: the program itself may be installed.
        """
        users = installed = None
        for call in calls:
            code_owner = owner(call[0])
            if code_owner is Owner.USER:
                users = call
            elif code_owner is Owner.INSTALLED:
                installed = call
        found = users or installed
        return self.site(*found) if found is not None else None
