"""Makes the program's modules be compiled by `rewriting.py`: those that are imported, run with `-m` or by `runpy`, and the script itself.

Only Python source files that Python itself would load are affected, and their loaders do everything else as before. No compiled file is
written for them, nor read.
"""

import __future__

import builtins
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from fakerun.call_site import Owner, owner
from fakerun.emulate.rank_tracking.rewriting import compile_followed
from fakerun.patching import Patches

_SPEAKS_OF_RANKS = (b"rank", b"RANK", b"PROCID", b"environ", b"getenv", b"coordinate", b"process_index")
"""What the source of an installed package contains if it may depend on the rank."""

_ASK_FOR_TYPES = frozenset({"yaml", "omegaconf"})
"""Packages that choose by `type(value)` what to do with a value, and know no subclass of int."""

_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag


@contextmanager
def followed_modules() -> Iterator[None]:
    """Rewrite the modules that are loaded while the context lasts."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        with Patches() as patches:
            patches.set(builtins, "compile", _compile_script(builtins.compile))
            yield
    finally:
        sys.meta_path.remove(finder)


class _Loader(SourceFileLoader):
    """Loads a source file, rewritten."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        code = compile_followed(self.get_data(path), path)
        return super().get_code(fullname) if code is None else code


class _Finder:
    """Finds what the other finders find, and replaces the loader of a module that is to be rewritten."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                loader = spec.loader
                if type(loader) is SourceFileLoader and _is_followed(name, loader.path):
                    spec.loader = _Loader(loader.name, loader.path)
                return spec
        return None


def _is_followed(name: str, path: str) -> bool:
    whose = owner(path)
    if whose is Owner.USER or (whose is Owner.INSTALLED and name.partition(".")[0] in _ASK_FOR_TYPES):
        return True
    if whose is not Owner.INSTALLED:
        return False
    try:
        source = Path(path).read_bytes()
    except OSError:
        return False
    return any(word in source for word in _SPEAKS_OF_RANKS)


def _compile_script(original: Any) -> Any:
    """`compile`, of a file of the program's as its module is compiled: the script, and what `runpy` or `exec` runs."""

    def compile(source: Any, filename: Any, mode: str, flags: int = 0, dont_inherit: bool = False, optimize: int = -1, **more: Any) -> Any:
        if mode == "exec" and not flags and isinstance(source, (str, bytes)) and not more and _is_program(filename):
            inherited = 0 if dont_inherit else sys._getframe(1).f_code.co_flags & _FUTURE
            code = compile_followed(source, os.fspath(filename), optimize=optimize, flags=inherited)
            if code is not None:
                return code
        if not dont_inherit:
            flags |= sys._getframe(1).f_code.co_flags & _FUTURE
        return original(source, filename, mode, flags, True, optimize, **more)

    return compile


def _is_program(filename: Any) -> bool:
    if not isinstance(filename, (str, os.PathLike)):
        return False
    path = os.fspath(filename)
    return isinstance(path, str) and owner(path) in (Owner.USER, Owner.INSTALLED) and os.path.isfile(path)  # noqa: PTH113
