"""Finds the line in the user's file that the program is at."""

import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

import torch

import fakerun

_HIDDEN, _LIBRARY, _USER = 0, 1, 2


class CallSites:
    """Names lines of the user's code: paths relative to where the job was started or, outside it, to the script's directory.

    The user's line is the innermost one outside torch, fakerun, the standard library and installed packages; where there is none, the
    innermost one in an installed package.
    """

    def __init__(self, working_directory: Path, script_directory: Path) -> None:
        self._bases = (working_directory.resolve(), script_directory.resolve())
        installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        self._hidden = tuple(f"{directory}/" for directory in {_package(torch), _package(fakerun)} | {sysconfig.get_path("stdlib")})
        self._installed = tuple(f"{directory}/" for directory in installed)
        self._kinds: dict[CodeType, int] = {}
        self._names: dict[tuple[CodeType, int], str] = {}

    def here(self) -> str | None:
        """`file:line` of the user's innermost frame, or None when no frame is the user's."""
        frame: FrameType | None = sys._getframe(1)
        library: FrameType | None = None
        kinds = self._kinds
        while frame is not None:
            code = frame.f_code
            kind = kinds.get(code)
            if kind is None:
                kind = kinds[code] = self._kind(code.co_filename)
            if kind == _USER:
                return self._name(frame)
            if kind == _LIBRARY and library is None:
                library = frame
            frame = frame.f_back
        return None if library is None else self._name(library)

    def _kind(self, filename: str) -> int:
        if filename.startswith("<"):
            return _HIDDEN
        path = str(Path(filename).resolve())
        # Installed packages lie below the standard library's directory, and torch below the installed packages': most specific first.
        if path.startswith(self._hidden[:-1]) or any(path.startswith(prefix) for prefix in self._hidden if "site-packages" in prefix):
            return _HIDDEN
        if path.startswith(self._installed):
            return _LIBRARY
        return _HIDDEN if path.startswith(self._hidden) else _USER

    def _name(self, frame: FrameType) -> str:
        key = (frame.f_code, frame.f_lineno)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{self._relative(frame.f_code.co_filename)}:{frame.f_lineno}"
        return name

    def _relative(self, filename: str) -> str:
        path = Path(filename).resolve()
        for base in self._bases:
            if path.is_relative_to(base):
                return str(path.relative_to(base))
        for directory in self._installed:
            if str(path).startswith(directory):
                return str(path)[len(directory) :]
        return path.name


def _package(module: object) -> str:
    return str(Path(str(module.__file__)).resolve().parent)  # type: ignore[attr-defined]
