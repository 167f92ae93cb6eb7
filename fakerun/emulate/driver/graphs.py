"""CUDA graphs: a captured region runs eagerly, once, and counts as the first replay. Later replays repeat its record.

A replay runs nothing, so it computes nothing and changes no memory; what it launches is queued on the stream that is current then. What is
allocated in a capture comes from the graph's memory pool, which keeps its segments until the graph is reset or deleted
(aten/src/ATen/cuda/CUDAGraph.cpp). `torch.cuda.graph` and `torch.cuda.make_graphed_callables` are torch's own.
"""

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.driver.captures import Captures
from fakerun.emulate.driver.memory_pools import MemoryPoolTable
from fakerun.errors import as_script_error
from fakerun.records.device_program import PoolOrigin
from fakerun.records.observer import StreamKey

if TYPE_CHECKING:
    from fakerun.records.observer import RecordMark

_Pool = tuple[int, int]


class _RandomState:
    """What a generator keeps on the device for a captured graph: its seed and its offset.

    Up to 2.12 one for all graphs there are (`CUDAGeneratorState::register_graph`), on the stream that is current; in 2.13 one for each
    capture (`init_capture_state`), on the default stream. Since 2.14 only captured random numbers make one (`get_capture_state`), which
    is not simulated: 1 KiB for each capture.
    """

    def __init__(self) -> None:
        self._tensors = [torch.empty(1, dtype=torch.int64, device=ACCELERATOR) for _ in range(2)]


class GraphTable:
    """The class `CUDAGraph`, and what its instances share."""

    def __init__(self, context: EmulationContext) -> None:
        self.communication = context.communication
        self.execution = context.execution
        self.captures = context.part(Captures)
        self.pools = context.allocators.pools
        self.MemPool: Any = context.part(MemoryPoolTable).MemPool
        self._devices, self._streams = context.devices, context.streams
        self._shared: weakref.ref[_RandomState] | None = None
        self.Graph: Any = type("CUDAGraph", (_Graph,), {"table": self})

    def current_stream(self) -> StreamKey:
        """That of the current device."""
        return self._streams.current(self._devices.current)

    def random_state(self) -> _RandomState | None:
        """That of a graph whose capture begins."""
        version = _torch_version()
        if version >= (2, 14):
            return None
        if version == (2, 13):
            with torch.cuda.stream(torch.cuda.default_stream()):
                return _RandomState()
        shared = None if self._shared is None else self._shared()
        if shared is None:
            shared = _RandomState()
            self._shared = weakref.ref(shared)
        return shared

    def is_capturing(self) -> bool:
        """`torch.cuda.is_current_stream_capturing`."""
        return self.captures.of(self.current_stream()) is not None


class _Graph:
    """Replaces `torch.cuda.CUDAGraph`."""

    table: ClassVar[GraphTable]

    def __init__(self, keep_graph: bool = False) -> None:
        self._pools: list[_Pool] = []
        """Those that it holds, its own first."""
        self._began: RecordMark | None = None
        self._ended: RecordMark | None = None
        self._captured_on: StreamKey = (0, 0, None)
        self._replayed = False
        self._random_state: _RandomState | None = None

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", check_input_liveness: bool = False) -> None:
        table, stream = self.table, self.table.current_stream()
        if self._ended is not None:
            raise _refused("This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance.")
        if stream[2] is None:
            raise _refused(
                "CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them on the default "
                "stream.)"
            )
        self._random_state = table.random_state()
        given = pool.id if isinstance(pool, table.MemPool) else pool
        own = table.pools.name(PoolOrigin.GRAPH) if given in (None, (0, 0)) else tuple(given)
        table.pools.begin(stream[0], own, lambda other: table.captures.has(self, other), capture=True)
        table.captures.begin(self, stream)
        self._pools = [own]
        self._began, self._replayed = table.communication.mark(), False
        self._captured_on = stream

    def capture_end(self) -> None:
        if self._began is None:
            raise _refused("capture_end() called before capture_begin().")
        if self.table.current_stream() != self._captured_on:
            raise _refused("Capture must end on the same stream it began on.")
        self._ended = self.table.communication.mark()
        self.table.captures.end(self)
        self.table.pools.end(self._captured_on[0], self._pools[0])

    def instantiate(self) -> None:
        """Nothing to do."""

    def replay(self) -> None:
        """Repeat the record of the capture. The first replay is the capture itself, which a GPU would not execute."""
        if self._began is None or self._ended is None:
            raise _refused("Called CUDAGraph::replay without a preceding successful capture.")
        stream = self.table.current_stream()
        if self._replayed:
            self.table.communication.replayed(self._began, self._ended, captured_on=self._captured_on, replayed_on=stream)
        elif stream != self._captured_on:
            self.table.execution.waited_for_stream(self._captured_on, stream)
        self._replayed = True

    def reset(self) -> None:
        """Release the pools; what they cache is given back by the next `torch.cuda.empty_cache`.

        Since 2.13 (`clearCublasWorkspacesForStream`, in the headers of 2.13 and not of 2.11) cuBLAS's workspaces for the graph's stream go,
        too; before, they kept its pool from being emptied.
        """
        if self._ended is None:
            return
        if _torch_version() >= (2, 13):
            self.table.execution.freed_workspaces(self._captured_on)
        for pool in self._pools:
            self.table.pools.release(self._captured_on[0], pool)
        self._began = self._ended = None
        self._pools = []
        if _torch_version() >= (2, 13):
            self._random_state = None

    def __del__(self) -> None:
        if hasattr(self, "_ended"):
            self.reset()

    def pool(self) -> _Pool:
        if self._ended is None:
            raise _refused("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._pools[0]

    def pools(self) -> list[_Pool]:
        """Those that it holds."""
        if self._ended is None:
            raise _refused("Called CUDAGraph::pools() without a preceding successful capture.")
        return list(self._pools)

    @classmethod
    def get_currently_capturing_graph(cls) -> Any:
        """The one that the current stream's work is captured into."""
        graph = cls.table.captures.of(cls.table.current_stream())
        if graph is None:
            raise _refused("The current stream is not currently capturing.")
        return graph

    def _retain_pool(self, pool: Any) -> None:
        """Hold another pool, which the capture uses (2.14)."""
        identity = pool.id if isinstance(pool, self.table.MemPool) else tuple(pool)
        if identity not in self._pools:
            self.table.pools.hold(self._captured_on[0], identity)
            self._pools.append(identity)

    def enable_debug_mode(self) -> None:
        """Nothing to do."""

    def debug_dump(self, debug_path: str, **kwargs: Any) -> None:
        """Nothing to do."""


def _refused(message: str) -> RuntimeError:
    return as_script_error(RuntimeError(message))


def _torch_version() -> tuple[int, int]:
    major, minor, *_ = torch.__version__.split(".")
    return int(major), int(minor)
