"""Threads that the script starts do device work too: they enter the simulation, whose modes are otherwise those of one thread.

Threads of torch's own and of multiprocessing stay outside: they move real host data (a loader's pin-memory thread, a queue's feeder).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.dummy import DummyProcess
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches

_OUTSIDE = ("torch", "multiprocessing")
"""Packages whose threads stay outside."""


@contextmanager
def simulated_threads(context: EmulationContext) -> Iterator[None]:
    """Let every thread that is started meanwhile, but those of `_OUTSIDE`, see what the script sees."""
    bootstrap = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def bootstrap_inside(self: threading.Thread) -> None:
        if not context.mode.active or _is_outside(self):
            bootstrap(self)
            return
        with context.mode.entered_in_thread():
            bootstrap(self)

    with Patches() as patches:
        patches.set(threading.Thread, "_bootstrap_inner", bootstrap_inside)
        yield


def _is_outside(thread: threading.Thread) -> bool:
    """Whether what the thread runs is code of those packages. The threads of a `multiprocessing.pool.ThreadPool` run the script's."""
    if isinstance(thread, DummyProcess):
        return False
    target: Any = getattr(thread, "_target", None) if type(thread).run is threading.Thread.run else type(thread).run
    module = getattr(target, "__module__", None) or type(getattr(target, "__self__", None)).__module__
    return str(module).partition(".")[0] in _OUTSIDE
