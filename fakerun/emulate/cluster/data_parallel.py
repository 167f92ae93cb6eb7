"""`nn.DataParallel`: copies between the devices of one process, of which a CPU build of torch has only the Python side.

What is allocated where is that of torch/csrc/cuda/comm.cpp (2.13), with NCCL: parameters are broadcast in flat buffers, of which the
replicas' are views; gradients are reduced into one buffer on the first device. Replicas run one after the other: which of several threads
is first must not decide what the report says, and threads share the current device here.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.cuda import nccl
from torch.nn.parallel import parallel_apply

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.patching import Patches
from fakerun.torch_private import MULTI_GPU_COPIES, flatten_dense_tensors, take_tensors, unflatten_dense_tensors

Tensors = Sequence[torch.Tensor]


@contextmanager
def data_parallel(context: EmulationContext) -> Iterator[None]:
    """Answer the functions of C++ that `torch.nn.parallel.comm` calls, until the context ends."""
    with Patches() as patches:
        for name, function in _COPIES.items():
            patches.add(MULTI_GPU_COPIES, name, function)
        patches.set(nccl, "reduce", lambda inputs, output=None, root=0, *args, **kwargs: None)
        patches.set(sys.modules[parallel_apply.__module__], "threading", _InTurn())
        yield


class _InTurn:
    """Replaces `threading` where replicas are started: each runs when it is started."""

    Lock = staticmethod(threading.Lock)

    class Thread:
        def __init__(self, target: Callable[..., Any], args: Sequence[Any]) -> None:
            self._run = partial(target, *args)

        def start(self) -> None:
            self._run()

        def join(self) -> None:
            """It has run."""


def _on(device: int) -> torch.device:
    return torch.device("cpu") if device == -1 else torch.device(ACCELERATOR, device)


def _broadcast(tensor: torch.Tensor, devices: Sequence[int]) -> list[torch.Tensor]:
    return [tensor.to(_on(device), non_blocking=True) for device in devices]


def _broadcast_out(tensor: torch.Tensor, out: Tensors) -> list[torch.Tensor]:
    return [target.copy_(tensor, non_blocking=True) for target in out]


def _broadcast_coalesced(tensors: Tensors, devices: Sequence[int], buffer_bytes: int) -> list[list[torch.Tensor]]:
    """The tensors on each device; on the first they are those that were given."""
    copies: dict[tuple[int, int], torch.Tensor] = {}
    for chunk in take_tensors(tensors, buffer_bytes):
        flat = flatten_dense_tensors(chunk)
        for device in devices[1:]:
            parts = unflatten_dense_tensors(flat.to(_on(device), non_blocking=True), chunk)
            copies |= {(id(tensor), device): part.detach() for tensor, part in zip(chunk, parts, strict=True)}
    return [list(tensors), *([copies[id(tensor), device] for tensor in tensors] for device in devices[1:])]


def _scatter(tensor: torch.Tensor, devices: Sequence[int], sizes: Sequence[int] | None, dim: int, streams: Any) -> list[torch.Tensor]:
    chunks = tensor.chunk(len(devices), dim) if sizes is None else tensor.split(list(sizes), dim)
    return [chunk.to(_on(device), non_blocking=True) for chunk, device in zip(chunks, devices, strict=False)]


def _scatter_out(tensor: torch.Tensor, out: Tensors, dim: int, streams: Any) -> list[torch.Tensor]:
    chunks = tensor.split([target.size(dim) for target in out], dim)
    return [target.copy_(chunk, non_blocking=True) for chunk, target in zip(chunks, out, strict=True)]


def _gather(tensors: Tensors, dim: int, destination: int | None) -> torch.Tensor:
    first = tensors[0]
    size = list(first.shape)
    size[dim] = sum(tensor.size(dim) for tensor in tensors)
    device = torch.device(ACCELERATOR) if destination is None else _on(destination)
    return _gather_out(tensors, torch.empty(size, dtype=first.dtype, device=device), dim)


def _gather_out(tensors: Tensors, out: torch.Tensor, dim: int) -> torch.Tensor:
    for target, tensor in zip(out.split([tensor.size(dim) for tensor in tensors], dim), tensors, strict=True):
        target.copy_(tensor, non_blocking=True)
    return out


_COPIES: Mapping[str, Callable[..., Any]] = {
    "_broadcast": _broadcast,
    "_broadcast_out": _broadcast_out,
    "_broadcast_coalesced": _broadcast_coalesced,
    "_scatter": _scatter,
    "_scatter_out": _scatter_out,
    "_gather": _gather,
    "_gather_out": _gather_out,
}
