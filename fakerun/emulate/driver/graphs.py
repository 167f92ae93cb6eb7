"""CUDA graphs: a captured region runs eagerly, once, and counts as the first replay. Later replays repeat its record.

A replay runs nothing, so it computes nothing and changes no memory; what it launches is queued on the stream that is current then. The
memory that a graph reserves between replays is not counted; the report says so.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import CUDA_GRAPH
from fakerun.records.observer import StreamKey

if TYPE_CHECKING:
    from fakerun.records.observer import RecordMark


class GraphTable:
    """The replacements of the classes and functions of `torch.cuda.graphs`."""

    def __init__(self, context: EmulationContext) -> None:
        self.communication = context.communication
        self.execution = context.execution
        self._devices, self._streams = context.devices, context.streams
        self.findings = context.findings
        self._pools = 0
        self.Graph: Any = type("CUDAGraph", (_Graph,), {"table": self})

    def current_stream(self) -> StreamKey:
        """That of the current device."""
        return self._streams.current(self._devices.current)

    def pool_handle(self) -> tuple[int, int]:
        """The handle of a new memory pool."""
        self._pools += 1
        return (0, self._pools)


def make_graphed_callables(callables: Any, sample_args: Any, *args: Any, **kwargs: Any) -> Any:
    """The callables unchanged: they run at every call, so everything is recorded."""
    return callables


class _Graph:
    """Replaces `torch.cuda.CUDAGraph`."""

    table: ClassVar[GraphTable]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pool: Any = self.table.pool_handle()
        self._began: RecordMark | None = None
        self._ended: RecordMark | None = None
        self._captured_on: StreamKey = (0, 0, None)
        self._replayed = False

    def capture_begin(self, pool: Any = None, *args: Any, **kwargs: Any) -> None:
        CUDA_GRAPH.report(self.table.findings, "The memory pool of a CUDA graph")
        self._pool = pool or self._pool
        self._began, self._replayed = self.table.communication.mark(), False
        self._captured_on = self.table.current_stream()

    def capture_end(self) -> None:
        self._ended = self.table.communication.mark()

    def instantiate(self) -> None:
        """Nothing to do."""

    def replay(self) -> None:
        """Repeat the record of the capture. The first replay is the capture itself, which a GPU would not execute."""
        if self._began is None or self._ended is None:
            return
        stream = self.table.current_stream()
        if self._replayed:
            self.table.communication.replayed(self._began, self._ended, captured_on=self._captured_on, replayed_on=stream)
        elif stream != self._captured_on:
            self.table.execution.waited_for_stream(self._captured_on, stream)
        self._replayed = True

    def reset(self) -> None:
        self._began = self._ended = None

    def pool(self) -> Any:
        return self._pool

    def enable_debug_mode(self) -> None:
        """Nothing to do."""

    def debug_dump(self, debug_path: str) -> None:
        """Nothing to do."""


class Capture:
    """Replaces `torch.cuda.graph`."""

    def __init__(self, cuda_graph: Any, pool: Any = None, stream: Any = None, **kwargs: Any) -> None:
        self.cuda_graph, self._requested_pool, self._stream = cuda_graph, pool, stream

    def __enter__(self) -> None:
        if self._stream is not None:
            self._stream.__enter__()
        self.cuda_graph.capture_begin(self._requested_pool)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.cuda_graph.capture_end()
        if self._stream is not None:
            self._stream.__exit__(kind, error, traceback)
