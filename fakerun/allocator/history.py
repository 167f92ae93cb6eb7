"""RecordingAllocator: a caching allocator that keeps what it did, as `torch.cuda.memory._record_memory_history` lets torch's.

What is recorded where: `record_trace` in c10/cuda/CUDACachingAllocator.cpp. Allocators that do not record have no part in it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fakerun.allocator.action import Action
from fakerun.allocator.blocks import Block, BlockPool
from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.statistics import PoolId


class HistoryEntry(NamedTuple):
    """One action on a block, or on a segment or part of one.

    `nbytes` is the size of the block or the segment, `requested_bytes` what was asked for it, of a segment all of it. `context` is what
    the allocator was told of the request, of a free that of the block's allocation. When memory ran out `address` is what the device
    could still give, in bytes, and both sizes are the rounded request.
    """

    action: Action
    address: int
    nbytes: int
    requested_bytes: int
    stream: int
    pool_id: PoolId
    context: object

    def as_torch(self) -> dict[str, Any]:
        """Its entry in `device_traces` of a memory snapshot, without the frames of who asked, and without a time."""
        address = "device_free" if self.action is Action.OUT_OF_MEMORY else "addr"
        return {"action": self.action.value, address: self.address, "size": self.requested_bytes, "stream": self.stream}


class RecordingAllocator(CachingAllocator):
    """`history` has what it did, in order. `context()` is asked who asks, whenever a block or a segment is allocated."""

    def __init__(
        self,
        settings: AllocatorSettings,
        *,
        total_bytes: int,
        capacity_bytes: int | None = None,
        uses_end_at_once: bool = True,
        context: Callable[[], object],
    ) -> None:
        super().__init__(settings, total_bytes=total_bytes, capacity_bytes=capacity_bytes, uses_end_at_once=uses_end_at_once)
        self.history: list[HistoryEntry] = []
        self._context = context
        self._of_blocks: dict[Block, object] = {}
        self._of_segments: dict[int, object] = {}
        self._segments.watch(self._segment_changed)

    def contexts(self) -> Mapping[int, object]:
        """Of the blocks that are not free, by address."""
        return {block.address: context for block, context in self._of_blocks.items()}

    def segment_contexts(self) -> Mapping[int, object]:
        """Of the segments, and of the pages mapped, by the address at which each began."""
        return self._of_segments

    def allocate(self, requested_bytes: int, stream: int = 0) -> Block:
        """As of `CachingAllocator`."""
        try:
            block = super().allocate(requested_bytes, stream)
        except AllocatorOutOfMemoryError as error:
            free_bytes = error.figures.free_bytes if error.figures else self.device.free_bytes
            size = error.figures.size_bytes if error.figures else requested_bytes
            self.history.append(HistoryEntry(Action.OUT_OF_MEMORY, free_bytes, size, size, stream, (0, 0), self._context()))
            raise
        self._of_blocks[block] = self._context()
        self._record(Action.ALLOC, block)
        return block

    def free(self, block: Block) -> None:
        """As of `CachingAllocator`."""
        if block.allocated:
            self._record(Action.FREE_REQUESTED, block)
        super().free(block)

    def _cache(self, block: Block) -> None:
        self._record(Action.FREE_COMPLETED, block)
        del self._of_blocks[block]
        super()._cache(block)

    def _record(self, action: Action, block: Block) -> None:
        pool = block.pool
        self.history.append(
            HistoryEntry(
                action, block.address, block.nbytes, block.requested_bytes, pool.stream, pool.owner.pool_id, self._of_blocks[block]
            )
        )

    def _segment_changed(self, action: Action, pool: BlockPool, address: int, nbytes: int) -> None:
        """A segment that goes has the context of the one that came."""
        if action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
            self._of_segments[address] = self._context()
        context = self._of_segments.get(address)
        self.history.append(HistoryEntry(action, address, nbytes, nbytes, pool.stream, pool.owner.pool_id, context))
