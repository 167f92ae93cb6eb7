"""`torch.cuda.MemPool`, and what C++ does of `torch.cuda.use_mem_pool` and of handles of pools.

`_cuda_beginAllocateToPool` and those beside it: torch/csrc/cuda/Module.cpp. `MemPool`: aten/src/ATen/cuda/MemPool.cpp.
"""

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from fakerun.emulate.autograd_clock import EngineClock
from fakerun.emulate.context import EmulationContext
from fakerun.records.device_program import PoolOrigin
from fakerun.torch_private import PoolFunction

_Pool = tuple[int, int]

_BACKWARD = -1
"""On a GPU autograd runs backward in a thread of the device, whichever thread calls it."""


class MemoryPoolTable:
    """The class `MemPool`, and the functions below `use_mem_pool`."""

    def __init__(self, context: EmulationContext) -> None:
        self.devices = context.devices
        self.pools = context.allocators.pools
        self._streams = context.streams
        self._clock = EngineClock()
        self.MemPool: Any = type("MemPool", (_MemPool,), {"table": self})

    def handle(self) -> _Pool:
        """A new handle: `torch.cuda.graph_pool_handle`."""
        return self.pools.name(PoolOrigin.HANDLE)

    def functions(self) -> dict[PoolFunction, Callable[..., Any]]:
        """What C++ does, by name."""
        return {
            PoolFunction.BEGIN: lambda device, pool: self.pools.begin(device, pool, lambda stream: True),
            PoolFunction.BEGIN_FOR_THREAD: self._begin_for_thread,
            PoolFunction.BEGIN_FOR_STREAM: self._begin_for_stream,
            PoolFunction.END: lambda device, pool: self.pools.end(device, pool),
            PoolFunction.RELEASE: lambda device, pool: self.pools.release(device, pool),
        }

    def _begin_for_thread(self, device: int, pool: _Pool) -> None:
        thread = self._thread()
        self.pools.begin(device, pool, lambda stream: self._thread() == thread)

    def _begin_for_stream(self, device: int, pool: _Pool) -> None:
        current = self._streams.current(device)
        self.pools.begin(device, pool, lambda stream: stream == current)

    def _thread(self) -> int:
        return _BACKWARD if self._clock.in_backward() else threading.get_ident()


class _MemPool:
    """Replaces `torch.cuda.MemPool`."""

    table: ClassVar[MemoryPoolTable]

    def __init__(self, allocator: Any = None, use_on_oom: bool = False, no_split: bool = False) -> None:
        self.table.devices.initialize()
        self._device = self.table.devices.current
        self.allocator = allocator
        self.id = self.table.pools.name(PoolOrigin.MEM_POOL, own_allocator=allocator is not None, use_on_oom=use_on_oom, no_split=no_split)
        self.table.pools.hold(self._device, self.id)

    def use_count(self) -> int:
        """How many refer to it."""
        return self.table.pools.use_count(self._device, self.id)

    def snapshot(self, include_traces: bool = True) -> Any:
        """Its segments."""
        return torch.cuda.memory_snapshot(self.id, include_traces=include_traces)

    def __del__(self) -> None:
        if hasattr(self, "id"):
            self.table.pools.delete(self._device, self.id)
