"""What torch's C++ logs: read once, from the environment, while torch is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fakerun.patching import Patches

_LEVEL = "TORCH_CPP_LOG_LEVEL"


@contextmanager
def native_warnings_silenced() -> Iterator[None]:
    """A torch that is imported in this context logs errors only, unless the user asked for a level; the script never sees the variable.

    Its warnings would be about the device that torch's C++ is given in place of CUDA, which the user does not know: DDP's logger warns that
    time statistics are only collected for CPU and CUDA devices (torch 2.13).
    """
    if _LEVEL in os.environ:
        yield
        return
    with Patches() as patches:
        patches.set_item(os.environ, _LEVEL, "ERROR")
        yield
