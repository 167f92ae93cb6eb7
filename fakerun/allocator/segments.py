"""Segments: getting memory of the device for a request, and giving back what no block of it is in use.

`alloc_block`, `release_block`, `release_blocks`, `release_available_cached_blocks`, `garbage_collect_cached_blocks` of
c10/cuda/CUDACachingAllocator.cpp.
"""

from bisect import bisect_left

from fakerun.allocator.action import Action, SegmentWatcher
from fakerun.allocator.blocks import Block, BlockPool
from fakerun.allocator.device import DeviceMemory
from fakerun.allocator.expandable_segments import ExpandableSegments
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.private_pools import MemoryPool
from fakerun.allocator.settings import UNLIMITED, AllocatorSettings
from fakerun.allocator.statistics import Statistics


class Segments:
    """What the allocator holds of the device. `allowed_bytes` is the most that it may hold, if a memory fraction is set."""

    def __init__(self, device: DeviceMemory, statistics: Statistics, settings: AllocatorSettings) -> None:
        self.allowed_bytes: int | None = None
        self._device = device
        self._statistics = statistics
        self._expandable = ExpandableSegments(device, statistics, settings.large_segment_bytes)
        self._watcher: SegmentWatcher | None = None
        self.apply(settings)

    def watch(self, watcher: SegmentWatcher) -> None:
        """Tell it of every segment that comes or goes from now on."""
        self._watcher = self._expandable.watcher = watcher

    def apply(self, settings: AllocatorSettings) -> None:
        """Follow other settings from now on."""
        self._max_split_size_bytes = settings.max_split_size_bytes
        self._threshold = settings.garbage_collection_threshold
        self._rejects = settings.throw_on_cudamalloc_oom
        self._expandable.large_page_bytes = settings.large_segment_bytes

    @property
    def collects_garbage(self) -> bool:
        return self.allowed_bytes is not None and self._threshold > 0.0

    def obtain(self, pool: BlockPool, size_bytes: int, segment_bytes: int, *, expandable: bool) -> Block | None:
        """A block for a rounded request, in no list; None if the device, or the memory fraction, does not give it.

        Raises:
            AllocatorOutOfMemoryError: the memory fraction does not, and `throw_on_cudamalloc_oom` is set.
        """
        held_bytes = self._device.given_bytes
        if self.allowed_bytes is not None and held_bytes + segment_bytes > self.allowed_bytes:
            if self._rejects:
                self._statistics.num_oom_rejections += 1
                raise AllocatorOutOfMemoryError.rejection(segment_bytes, held_bytes, self.allowed_bytes, self._device.total_bytes)
            return None
        if expandable:
            return self._expandable.obtain(pool, size_bytes)
        if not self._device.give(segment_bytes):
            return None
        self._count(pool, segment_bytes)
        self._statistics.num_device_alloc += 1
        address = self._device.reserve_addresses(segment_bytes)
        if self._watcher is not None:
            self._watcher(Action.SEGMENT_ALLOC, pool, address, segment_bytes)
        return Block(address, segment_bytes, pool)

    def _count(self, pool: BlockPool, nbytes: int) -> None:
        """One more segment of so many bytes, or one fewer of minus as many."""
        one = 1 if nbytes > 0 else -1
        statistics = self._statistics
        statistics.all.segment.change(one)
        pool.statistics.segment.change(one)
        pool.reserved_bytes += nbytes
        statistics.count_reserved(pool.statistics, pool.owner.private_id, nbytes)
        if abs(nbytes) >= self._max_split_size_bytes:
            statistics.oversize_segments.change(one)

    def _release(self, block: Block) -> None:
        """Give back a segment that is one free block."""
        block.pool.remove(block)
        self._device.take_back(block.nbytes)
        self._count(block.pool, -block.nbytes)
        self._statistics.num_device_free += 1
        if self._watcher is not None:
            self._watcher(Action.SEGMENT_FREE, block.pool, block.address, block.nbytes)

    def release_cached(self, memory_pool: MemoryPool) -> None:
        """Give back all segments, and whole pages, without a block in use."""
        for pool in memory_pool.pools():
            blocks = [block for _, _, block in pool.free]
            for block in blocks:
                if block.expandable is None and not block.is_split:
                    self._release(block)
            for block in blocks:
                if block.expandable is not None:
                    self._expandable.unmap(block)

    def release_oversize(self, pool: BlockPool, size_bytes: int) -> bool:
        """Give back as many cached segments of at least `max_split_size` as may do for a request: whether they may do.

        The smallest that is large enough, else the largest ones.
        """
        if self._max_split_size_bytes == UNLIMITED:
            return False
        wanted = max(size_bytes, self._max_split_size_bytes)
        index = bisect_left(pool.free, (wanted,))
        if index < len(pool.free) and pool.free[index][2].expandable is None:
            self._release(pool.free[index][2])
            return True
        released = 0
        while released < wanted and index and pool.free[index - 1][0] >= self._max_split_size_bytes:
            index -= 1
            nbytes, _, block = pool.free[index]
            if block.expandable is None:
                released += nbytes
                self._release(block)
        return released >= wanted

    def collect_garbage(self, memory_pool: MemoryPool) -> None:
        """Give back large segments that were free for long, if more than the threshold is held.

        The age of a block is how many requests for large blocks came since it was freed. Those of at least the mean age go first, and
        then again, until as much as exceeds the threshold went.
        """
        assert self.allowed_bytes is not None
        excess = self._device.given_bytes - int(self._threshold * self.allowed_bytes)
        searches = memory_pool.large_searches.count
        left = [block for pool in memory_pool.large.values() for _, _, block in pool.free if not block.is_split]
        total_age = sum(searches - block.inserted_at for block in left)
        count = len(left)
        while excess > 0 and count > 0:
            mean_age = total_age / count
            old = [block for block in left if block.expandable is None and searches - block.inserted_at >= mean_age]
            if not old:
                return
            for block in old:
                excess -= block.nbytes
                total_age -= searches - block.inserted_at
                self._release(block)
            count -= len(old)
            left = [block for block in left if block.is_free]
