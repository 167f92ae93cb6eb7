"""The pools of streams of each device, from which scripts and torch itself take streams in turn."""

from collections import defaultdict

from fakerun.emulate.context import EmulationContext
from fakerun.records.observer import StreamKey

STREAMS_PER_POOL = 32
"""Streams that a device has for each priority, used in turn (kStreamsPerPool, c10/cuda/CUDAStream.cpp)."""

PRIORITIES = 4
"""Of which torch has pools (max_compile_time_stream_priorities, c10/cuda/CUDAStream.h): 0 and the higher ones -1, -2 and -3."""


class StreamPools:
    """A part of the context: whoever takes a stream takes the next one."""

    def __init__(self, _: EmulationContext) -> None:
        self._taken: defaultdict[tuple[int, int], int] = defaultdict(int)
        """How many streams were taken, by device and level of priority."""

    def take(self, device: int, priority: int = 0) -> StreamKey:
        """The next stream of the device's pool for that priority."""
        level = min(max(-priority, 0), PRIORITIES - 1)
        taken = self._taken[device, level]
        self._taken[device, level] = taken + 1
        return device, -level, taken % STREAMS_PER_POOL
