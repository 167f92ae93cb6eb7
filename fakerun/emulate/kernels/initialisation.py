"""Random initialisation that rejects samples: what it asks of its own samples is not worth telling."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from fakerun.emulate.patching import Patches
from fakerun.emulate.torch_private import TRUNCATED_NORMAL


@contextmanager
def samples_are_accepted(unnoted: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let `trunc_normal_` take its first samples (a neutral False answers its `.any()`), without a note about control flow."""
    original = getattr(torch.nn.init, TRUNCATED_NORMAL)

    def truncated_normal(*args: Any, **kwargs: Any) -> Any:
        with unnoted():
            return original(*args, **kwargs)

    with Patches() as patches:
        patches.set(torch.nn.init, TRUNCATED_NORMAL, truncated_normal)
        yield
