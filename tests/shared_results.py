"""Expensive results that several tests need: the first worker of pytest-xdist that needs one computes it, the others read it.

xdist's groups would serve too, but xdist 3.8 does not see them under pytest 9.2, and a group keeps all of its tests in one worker.
"""

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Result = TypeVar("Result")


class SharedResults:
    """Results by name, for all workers of one test run. A result whose computation fails is not kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seen: dict[str, object] = {}

    def get(self, name: str, make: Callable[[], Result]) -> Result:
        """The result of `make`, which must be the same for every caller with this name."""
        if name not in self._seen:
            self._seen[name] = self._read_or_make(name, make)
        return self._seen[name]  # type: ignore[return-value]

    def _read_or_make(self, name: str, make: Callable[[], Result]) -> Result:
        file = self.directory / f"{name}.pickle"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            if not file.exists():
                file.write_bytes(pickle.dumps(make()))
            return pickle.loads(file.read_bytes())


@pytest.fixture(scope="session")
def shared_results(tmp_path_factory: pytest.TempPathFactory) -> SharedResults:
    """The results of this test run. Under xdist a worker's temporary directory is inside that of the run."""
    own = tmp_path_factory.getbasetemp()
    return SharedResults((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared")
