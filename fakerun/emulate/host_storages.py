"""Storages made from host bytes are real: objects that ranks exchange, and files that are read, travel in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.patching import Patches
from fakerun.emulate.torch_private import STORAGE_FROM_BUFFER, disable_all_modes


@contextmanager
def host_storages_are_real() -> Iterator[None]:
    """While a fake mode is active, C++ makes storages from bytes on `meta` (torch 2.13): let it see none."""
    from_buffer = getattr(torch.UntypedStorage, STORAGE_FROM_BUFFER)

    def from_host_bytes(*args: Any, **kwargs: Any) -> torch.UntypedStorage:
        with disable_all_modes():
            return from_buffer(*args, **kwargs)  # type: ignore[no-any-return]

    with Patches() as patches:
        patches.set(torch.UntypedStorage, STORAGE_FROM_BUFFER, staticmethod(from_host_bytes))
        yield
