"""Captures: the CUDA graphs that are being captured, and the streams whose work belongs to each."""

from fakerun.emulate.context import EmulationContext
from fakerun.records.observer import StreamKey


class Captures:
    """A capture has one stream at first; one that waits for work of it joins ("Cross-stream Dependencies and Events" of CUDA's guide)."""

    def __init__(self, context: EmulationContext) -> None:
        self._streams: dict[object, set[StreamKey]] = {}
        wait = context.streams.on_wait

        def autograd_waits(waited_for: StreamKey, stream: StreamKey) -> None:
            self.join(self.of(waited_for), stream)
            wait(waited_for, stream)

        context.streams.on_wait = autograd_waits

    def begin(self, graph: object, stream: StreamKey) -> None:
        """Work queued on the stream from now on is captured into the graph."""
        self._streams[graph] = {stream}

    def end(self, graph: object) -> None:
        """The capture is over on all its streams."""
        del self._streams[graph]

    def has(self, graph: object, stream: StreamKey) -> bool:
        """Whether work queued on the stream is captured into this graph."""
        return stream in self._streams.get(graph, ())

    def of(self, stream: StreamKey) -> object | None:
        """The graph that work queued on the stream is captured into."""
        return next((graph for graph, streams in self._streams.items() if stream in streams), None) if self._streams else None

    def join(self, graph: object | None, stream: StreamKey) -> None:
        """The stream waits for work that was captured into a graph."""
        if graph in self._streams:
            self._streams[graph].add(stream)
