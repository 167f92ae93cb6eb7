"""`torch.device(1)` is the accelerator of that number, also in a build of torch that has none.

Such a build refuses the number in C++ (torch 2.13 without CUDA; a build with CUDA answers by itself). What makes a device is a class that
cannot be changed, so a torch-function mode answers. It is the only one, and builds that do without it are faster.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fakerun.emulate.device.devices import ACCELERATOR


class DeviceOrdinals(TorchFunctionMode):
    """Answers `torch.device(1)`."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Pass every other call on."""
        if func is torch.device and len(args) == 1 and isinstance(args[0], int) and not isinstance(args[0], bool) and not kwargs:
            return torch.device(ACCELERATOR, args[0])
        return func(*args, **kwargs) if kwargs else func(*args)


@contextmanager
def device_ordinals() -> Iterator[None]:
    """Answer `torch.device(1)` in this thread until the context ends."""
    if _build_knows_ordinals():
        yield
    else:
        with DeviceOrdinals():
            yield


def _build_knows_ordinals() -> bool:
    try:
        return torch.device(0).type == ACCELERATOR
    except RuntimeError:
        return False
