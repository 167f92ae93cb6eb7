"""CUDA graphs: what is captured runs eagerly, once. That is its first replay; further ones repeat what was recorded of it.

Nothing is run by a replay, so nothing is computed and no memory changes: the memory that a graph keeps for itself between replays
is not counted. The report says so.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import CUDA_GRAPH

if TYPE_CHECKING:
    from fakerun.records.observer import RecordMark


class GraphTable:
    """The classes and functions of `torch.cuda.graphs`, by what they stand for."""

    def __init__(self, context: EmulationContext) -> None:
        self.communication = context.communication
        self.findings = context.findings
        self._pools = 0
        self.Graph: Any = type("CUDAGraph", (_Graph,), {"table": self})

    def pool_handle(self) -> tuple[int, int]:
        """A new memory pool's name."""
        self._pools += 1
        return (0, self._pools)


def make_graphed_callables(callables: Any, sample_args: Any, *args: Any, **kwargs: Any) -> Any:
    """The callables as they are: they run at every call, so nothing is missed."""
    return callables


class _Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    table: ClassVar[GraphTable]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pool: Any = self.table.pool_handle()
        self._began: RecordMark | None = None
        self._ended: RecordMark | None = None
        self._replayed = False

    def capture_begin(self, pool: Any = None, *args: Any, **kwargs: Any) -> None:
        CUDA_GRAPH.report(self.table.findings, "The memory pool of a CUDA graph")
        self._pool = pool or self._pool
        self._began, self._replayed = self.table.communication.mark(), False

    def capture_end(self) -> None:
        self._ended = self.table.communication.mark()

    def instantiate(self) -> None:
        """There is nothing to prepare."""

    def replay(self) -> None:
        """Work ran when it was captured, which a GPU would not have done: that was the first replay."""
        if self._replayed and self._began is not None and self._ended is not None:
            self.table.communication.repeated(self._began, self._ended)
        self._replayed = True

    def reset(self) -> None:
        self._began = self._ended = None

    def pool(self) -> Any:
        return self._pool

    def enable_debug_mode(self) -> None:
        """There is nothing to show."""

    def debug_dump(self, debug_path: str) -> None:
        """There is nothing to show."""


class Capture:
    """Stands for `torch.cuda.graph`."""

    def __init__(self, cuda_graph: Any, pool: Any = None, stream: Any = None, **kwargs: Any) -> None:
        self.cuda_graph, self._requested_pool, self._stream = cuda_graph, pool, stream

    def __enter__(self) -> None:
        self.cuda_graph.capture_begin(self._requested_pool)
        if self._stream is not None:
            self._stream.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.__exit__(kind, error, traceback)
        self.cuda_graph.capture_end()
