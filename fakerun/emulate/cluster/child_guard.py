"""In a child process that the script starts: reports to the rank when the child initialises torch.distributed, and ends the child.

Such a child would wait for ranks that never come. A child that does not do that runs for real. Free of torch, because a child that
starts a new interpreter loads this before anything else.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

_ENTRY_POINT = "torch.distributed.distributed_c10d"
_STATUS = 1

_UNTIL_ENDED_S = 10.0
"""The rank ends its children; until then it must not see this one end, which would be a failure of the script."""


def report(address: str) -> NoReturn:
    """Report this process to the rank that listens there, and end it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_rank, suppress(OSError):  # the rank has ended
        to_rank.sendto(b"\0", address)
        time.sleep(_UNTIL_ENDED_S)
    os._exit(_STATUS)


class Guard:
    """Sent to a child that starts a new interpreter: unpickling it there watches for the initialisation of torch.distributed."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __reduce__(self) -> tuple[Any, ...]:
        return watch, (self._address,)


def watch(address: str) -> None:
    """Report as soon as this process calls `torch.distributed.init_process_group`."""
    if _ENTRY_POINT in sys.modules:  # a fork server of multiprocessing's may have imported it
        for module in (sys.modules[_ENTRY_POINT], sys.modules["torch.distributed"]):
            _replace(module, address)
    else:
        sys.meta_path.insert(0, _Finder(address))


def _replace(module: ModuleType, address: str) -> None:
    vars(module)["init_process_group"] = lambda *args, **kwargs: report(address)


class _Finder(importlib.abc.MetaPathFinder):
    """Replaces the function when its module is imported, before anybody can import the function from there."""

    def __init__(self, address: str) -> None:
        self._address = address

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != _ENTRY_POINT:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_replace(module: ModuleType) -> None:
                execute(module)
                _replace(module, self._address)

            vars(spec.loader)["exec_module"] = execute_and_replace
        return spec
