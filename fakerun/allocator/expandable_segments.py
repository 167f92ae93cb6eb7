"""Expandable segments: a range of addresses for each pool, larger than the device, to which memory is mapped page by page.

`ExpandableSegment`, `find_expandable_block`, `map_block`, `try_allocate_expandable_block`, `unmap_block`, `release_expandable_segment` of
c10/cuda/CUDACachingAllocator.cpp.
"""

from fakerun.allocator.action import Action, SegmentWatcher
from fakerun.allocator.blocks import Block, BlockPool
from fakerun.allocator.device import DeviceMemory
from fakerun.allocator.sizes import SMALL_SEGMENT_BYTES
from fakerun.allocator.statistics import Statistics


class ExpandableSegment:
    """A range of addresses; memory is mapped to whole pages of it. All in bytes."""

    __slots__ = ("address", "nbytes", "page_bytes")

    def __init__(self, address: int, nbytes: int, page_bytes: int) -> None:
        self.address = address
        self.nbytes = nbytes
        self.page_bytes = page_bytes

    def page_before(self, address: int) -> int:
        """The last boundary of pages that is not behind the address."""
        return address - (address - self.address) % self.page_bytes

    def page_after(self, address: int) -> int:
        """The first boundary of pages that is not before the address."""
        return address + (self.address - address) % self.page_bytes


class ExpandableSegments:
    """Maps memory for requests, and takes it back. `large_page_bytes` is `large_segment_size_mb`, which may change."""

    def __init__(self, device: DeviceMemory, statistics: Statistics, large_page_bytes: int) -> None:
        self.large_page_bytes = large_page_bytes
        self.watcher: SegmentWatcher | None = None
        self._device = device
        self._statistics = statistics

    def obtain(self, pool: BlockPool, size_bytes: int) -> Block | None:
        """A block of at least this size, which is in no list any more; None if the device lacks the memory.

        What was mapped until then stays, as free blocks.
        """
        block = self._lowest_room(pool, size_bytes)
        if not block.mapped and not self._map(block, min(block.nbytes, size_bytes)):
            return None
        while block.nbytes < size_bytes:
            following = block.next
            assert following is not None
            if not self._map(following, min(size_bytes - block.nbytes, following.nbytes)):
                return None
            block = following  # mapping made it absorb the free block in front of it
        pool.remove(block)
        return block

    def _lowest_room(self, pool: BlockPool, size_bytes: int) -> Block:
        """The first block of the lowest row of free blocks, mapped or not, that has room, and has a range that is not mapped."""
        for _, unmapped in pool.unmapped:
            before = unmapped.previous
            first = before if before is not None and before.is_free else unmapped
            room, block = 0, first
            while block.is_free:
                room += block.nbytes
                if room >= size_bytes:
                    return first
                if block.next is None:
                    break
                block = block.next
        return self._new(pool, size_bytes)

    def _new(self, pool: BlockPool, least_bytes: int) -> Block:
        """A segment without memory: of 9/8 of the device's size, so that pages can be unmapped at the front and mapped at the end.

        A request may be larger where the device gives more than it has; torch fails at it.
        """
        page_bytes = SMALL_SEGMENT_BYTES if pool.is_small else self.large_page_bytes
        total_bytes = self._device.total_bytes
        nbytes = -(-max(total_bytes + total_bytes // 8, least_bytes) // page_bytes) * page_bytes
        segment = ExpandableSegment(self._device.reserve_addresses(nbytes), nbytes, page_bytes)
        block = Block(segment.address, nbytes, pool, segment)
        block.mapped = False
        pool.insert_unmapped(block)
        return block

    def _map(self, block: Block, size_bytes: int) -> bool:
        """Map so much, in whole pages, at the front of a range that is not mapped; it becomes a free block and merges."""
        segment, pool = block.expandable, block.pool
        assert segment is not None
        nbytes = segment.page_after(block.address + size_bytes) - block.address
        if not self._device.give(nbytes):
            return False
        pool.remove_unmapped(block)
        block.mapped = True
        if self.watcher is not None:
            self.watcher(Action.SEGMENT_MAP, pool, block.address, nbytes)
        if nbytes < block.nbytes:
            rest = Block(block.address + nbytes, block.nbytes - nbytes, pool, segment)
            rest.mapped = False
            rest.put_after(block)
            block.nbytes = nbytes
            pool.insert_unmapped(rest)
        pool.merge_neighbours(block)
        pool.insert(block)
        self._count(pool, nbytes)
        self._statistics.num_device_alloc += 1
        return True

    def unmap(self, block: Block) -> None:
        """Take the whole pages of a free block back; its segment goes when nothing of it is mapped."""
        segment, pool = block.expandable, block.pool
        assert segment is not None
        begin, end = segment.page_after(block.address), segment.page_before(block.address + block.nbytes)
        if begin >= end:
            return
        pool.remove(block)
        self._cut(block, begin, end)
        block.mapped = False
        pool.merge_neighbours(block)
        self._device.take_back(end - begin)
        self._count(pool, begin - end)
        self._statistics.num_device_free += 1
        if self.watcher is not None:
            self.watcher(Action.SEGMENT_UNMAP, pool, begin, end - begin)
        if block.is_split:
            pool.insert_unmapped(block)

    def _cut(self, block: Block, begin: int, end: int) -> None:
        """Leave what is before and behind these addresses as free blocks."""
        before, after = begin - block.address, block.address + block.nbytes - end
        if before:
            rest = Block(block.address, before, block.pool, block.expandable)
            rest.put_before(block)
            block.pool.insert(rest)
        if after:
            rest = Block(end, after, block.pool, block.expandable)
            rest.put_after(block)
            block.pool.insert(rest)
        block.address, block.nbytes = begin, end - begin

    def _count(self, pool: BlockPool, nbytes: int) -> None:
        pool.reserved_bytes += nbytes
        self._statistics.count_reserved(pool.statistics, pool.owner.private_id, nbytes)
