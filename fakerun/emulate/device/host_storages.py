"""Storages made from host bytes are real: exchanged objects and the contents of files are in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import disable_all_modes


@contextmanager
def real_host_storages(_: EmulationContext) -> Iterator[None]:
    """While a fake mode is active, C++ makes storages from bytes on `meta` (torch 2.13): disable the mode for that call."""
    from_buffer = torch.UntypedStorage.from_buffer

    def from_host_bytes(*args: Any, **kwargs: Any) -> torch.UntypedStorage:
        with disable_all_modes():
            return from_buffer(*args, **kwargs)

    with Patches() as patches:
        patches.set(torch.UntypedStorage, "from_buffer", staticmethod(from_host_bytes))
        yield
