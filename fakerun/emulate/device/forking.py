"""Keeps forked children out of the simulation: a DataLoader's workers do host work, and dispatch modes survive a fork.

Samples that they take from a data set that is simulated for its size are real tensors of placeholders: they are sent to the rank as bytes.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fakerun.emulate.context import EmulationContext

_entered: list[EmulationContext] = []
"""The simulations of this process. The hook below cannot be unregistered, so it is registered once and reads this."""


def _leave_in_child() -> None:
    for context in _entered:
        context.mode.active = context.functions.active = False
        context.mode.lock = threading.RLock()  # a thread that the child does not have may hold it


os.register_at_fork(after_in_child=_leave_in_child)


@contextmanager
def unsimulated_children(context: EmulationContext) -> Iterator[None]:
    """Switch the simulation off in every child that is forked until the context ends."""
    _entered.append(context)
    try:
        yield
    finally:
        _entered.remove(context)
