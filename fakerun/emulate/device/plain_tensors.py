"""Meta tensors in the place of simulated ones: how views are made without that C++ asks Python about their base."""

from types import TracebackType
from typing import Any

import torch

from fakerun.torch_private import disable_torch_dispatch

META = torch.device("meta")
empty = torch.empty  # not the one that answers scripts, which costs more


class Undispatched:
    """Keeps the operators inside from every mode and subclass; reusable."""

    __slots__ = ("_guard",)

    def __enter__(self) -> None:
        self._guard = disable_torch_dispatch()
        self._guard.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._guard.__exit__(kind, error, traceback)


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is fully described by its storage, sizes and strides. In inference mode `plain` would make an inference tensor."""
    return not (tensor.is_conj() or tensor.is_neg() or tensor.is_inference() or torch.is_inference_mode_enabled())


def plain(tensor: Any) -> torch.Tensor:
    """A meta tensor like a simulated one, on its storage: C++ answers it ten times as fast, because it asks Python nothing about it."""
    made = empty(0, dtype=tensor.dtype, device=META)
    return made.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def plain_view(tensor: Any, shape: tuple[int, ...], stride: tuple[int, ...], offset: int, dtype: torch.dtype) -> torch.Tensor:
    """A meta tensor on the storage of a simulated one, `offset` elements behind its beginning."""
    with Undispatched():
        return empty(0, dtype=dtype, device=META).set_(tensor.untyped_storage(), tensor.storage_offset() + offset, shape, stride)
