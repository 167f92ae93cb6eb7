"""Whether gradients are enabled as the script set it, also while torch disables them internally."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import Function

from fakerun.patching import Patches


class GradMode:
    """The script's grad mode. Inside the forward of an `autograd.Function`, it is the mode that the function was applied in.

    torch disables gradients there, because the function has a backward of its own; what it makes and saves is kept for that backward
    all the same. Tensor parallelism, checkpointing and fused losses are such functions.
    """

    def __init__(self) -> None:
        self._applied_in: bool | None = None

    def enabled(self) -> bool:
        return torch.is_grad_enabled() if self._applied_in is None else self._applied_in

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every function that is applied meanwhile; the outermost counts."""
        apply: Any = vars(Function)["apply"]

        def apply_watched(function: Any, *args: Any, **kwargs: Any) -> Any:
            apply_as_is = apply.__get__(None, function)
            if self._applied_in is not None:
                return apply_as_is(*args, **kwargs)
            self._applied_in = torch.is_grad_enabled()
            try:
                return apply_as_is(*args, **kwargs)
            finally:
                self._applied_in = None

        with Patches() as patches:
            patches.set(Function, "apply", classmethod(apply_watched))
            yield
