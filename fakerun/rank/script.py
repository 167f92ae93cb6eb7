"""The script as Python's main program: what `python -u script.py args` or `python -u -m module args` sets up, and its code, run.

Owns `sys.argv`, `sys.path[0]` and `sys.modules["__main__"]`. Knows nothing of simulation, except that an argument may tell the rank, and
handles no exception of the script's.
"""

import builtins
import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from string import Template
from types import CodeType, ModuleType
from typing import Any

from fakerun.emulate.rank_tracking.variables import followed_argument
from fakerun.job.spec import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run on one rank, with what arguments. Exactly one of `script` and `module` is set."""

    script: str | None = None
    module: str | None = None
    args: tuple[str, ...] = ()

    @classmethod
    def of(cls, job: JobSpec, rank: int) -> "Program":
        """The job's program; `${local_rank}` in its arguments stands for the rank's place on its node, as in torchrun."""
        local_rank = str(rank % job.nproc_per_node)
        args = tuple(followed_argument(arg, Template(arg).safe_substitute(local_rank=local_rank)) for arg in job.args)
        return cls(script=str(job.script) if job.script is not None else None, module=job.module, args=args)

    def run(self) -> None:
        """Run it to its end. What it raises, including what is raised for want of a program, goes to the caller."""
        if self.module is not None:
            code, attributes = self._find_module(self.module)
        else:
            code, attributes = self._read_script(self.script or "")
        # A fresh module, found under its name: pickling, `multiprocessing` and `import __main__` look there.
        main = ModuleType("__main__")
        main.__dict__.update(__annotations__={}, __builtins__=builtins, **attributes)
        sys.modules["__main__"] = main
        exec(code, main.__dict__)  # noqa: S102 - the one purpose of this module

    def _read_script(self, script: str) -> tuple[CodeType, dict[str, Any]]:
        # Python itself resolves links for sys.path, and neither links nor "./" for __file__ and tracebacks.
        self._set_arguments(script, "-u", script)
        _set_first_path(os.path.dirname(os.path.realpath(script)))  # noqa: PTH120
        filename = os.path.join(os.getcwd(), script)  # noqa: PTH109, PTH118
        source = _read(filename)
        loader = SourceFileLoader("__main__", filename)
        # Bytes, so that the compiler sees a byte order mark and a `coding:` line; not inheriting this module's future statements.
        code = compile(source, filename, "exec", dont_inherit=True)
        return code, {"__file__": filename, "__cached__": None, "__loader__": loader, "__package__": None, "__spec__": None}

    def _find_module(self, name: str) -> tuple[CodeType, dict[str, Any]]:
        self._set_arguments("-m", "-u", "-m", name)
        _set_first_path(os.getcwd())  # noqa: PTH109
        spec = _runnable_spec(name)
        code = spec.loader.get_code(spec.name) if spec.loader is not None and hasattr(spec.loader, "get_code") else None
        if code is None:
            raise ImportError(f"No code object available for {name}")
        sys.argv[0] = spec.origin or name
        return code, {
            "__file__": spec.origin,
            "__cached__": spec.cached,
            "__loader__": spec.loader,
            "__package__": spec.parent,
            "__spec__": spec,
        }

    def _set_arguments(self, argv0: str, *interpreter_args: str) -> None:
        sys.argv[:] = [argv0, *self.args]
        sys.orig_argv[:] = [sys.executable, *interpreter_args, *self.args]


def _read(filename: str) -> bytes:
    try:
        return Path(filename).read_bytes()
    except OSError as error:  # a real run has no frames of pathlib
        raise error.with_traceback(None) from None


def _set_first_path(directory: str) -> None:
    """Insert it: fakerun starts its servers with -P, so the entry is missing; PYTHONSAFEPATH is how a user asks for that."""
    if sys.flags.ignore_environment or not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, directory)


def _runnable_spec(name: str) -> ModuleSpec:
    """The spec of a module, or of a package's `__main__`; imports the parent packages, as `python -m` does."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"No module named {name}")
    if spec.submodule_search_locations is None:
        return spec
    main = importlib.util.find_spec(f"{name}.__main__")
    if main is None:
        raise ImportError(f"No module named {name}.__main__; {name!r} is a package and cannot be directly executed")
    return main
