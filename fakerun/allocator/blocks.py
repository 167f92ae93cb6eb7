"""Block, and BlockPool: the blocks of one stream that are small, or large.

A segment is a row of blocks, linked in order of address. A freed block merges with the free ones beside it, so that no two free blocks are
neighbours. A cached block only serves the stream that it was allocated for: `BlockComparatorSize` orders by stream first
(c10/cuda/CUDACachingAllocator.cpp), so that the blocks of a stream are a pool of their own.
"""

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from fakerun.allocator.statistics import PoolStatistics

if TYPE_CHECKING:
    from fakerun.allocator.expandable_segments import ExpandableSegment
    from fakerun.allocator.private_pools import MemoryPool


class Block:
    """A range of a segment: allocated, waiting for other streams, free, or without memory in an expandable segment (`mapped` is false).

    `nbytes` is what the allocator counts, `requested_bytes` what was asked for. A free block, mapped or not, `is_free`. `stream_uses` are
    the streams of `record_stream` since it was allocated, `pending_events` those whose work on it is not over after it was freed.
    """

    __slots__ = (
        *("address", "nbytes", "requested_bytes", "pool", "expandable", "previous", "next"),
        *("allocated", "is_free", "mapped", "stream_uses", "pending_events", "inserted_at"),
    )

    def __init__(self, address: int, nbytes: int, pool: "BlockPool", expandable: "ExpandableSegment | None" = None) -> None:
        self.address = address
        self.nbytes = nbytes
        self.requested_bytes = 0
        self.pool = pool
        self.expandable = expandable
        self.previous: Block | None = None
        self.next: Block | None = None
        self.allocated = False
        self.is_free = False
        self.mapped = True
        self.stream_uses: set[int] | None = None
        self.pending_events = 0
        self.inserted_at = 0

    @property
    def stream(self) -> int:
        return self.pool.stream

    @property
    def is_split(self) -> bool:
        """Whether it is only part of its segment (`Block::is_split`)."""
        return self.previous is not None or self.next is not None

    def put_after(self, other: "Block") -> None:
        """Link it behind `other`."""
        self.previous, self.next = other, other.next
        if other.next is not None:
            other.next.previous = self
        other.next = self

    def put_before(self, other: "Block") -> None:
        """Link it in front of `other`."""
        self.previous, self.next = other.previous, other
        if other.previous is not None:
            other.previous.next = self
        other.previous = self

    def absorb_previous(self) -> None:
        """Take over the range in front of it."""
        previous = self.previous
        assert previous is not None
        self.address = previous.address
        self.nbytes += previous.nbytes
        self.previous = previous.previous
        if self.previous is not None:
            self.previous.next = self

    def absorb_next(self) -> None:
        """Take over the range behind it."""
        following = self.next
        assert following is not None
        self.nbytes += following.nbytes
        self.next = following.next
        if self.next is not None:
            self.next.previous = self


class SearchCount:
    """How often cached blocks were searched where garbage is collected: the clock by which a free block has an age."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class BlockPool:
    """The blocks of one stream of a memory pool that are small, or large.

    `free` has its cached blocks by size, then address; `unmapped` the ranges without memory of its expandable segments by address.
    `reserved_bytes` is what its segments hold of the device's memory, `allocated_bytes` what of it is handed out.
    """

    __slots__ = ("allocated_bytes", "free", "is_small", "owner", "reserved_bytes", "searches", "statistics", "stream", "unmapped")

    def __init__(self, stream: int, is_small: bool, owner: "MemoryPool", statistics: PoolStatistics, searches: SearchCount) -> None:
        self.stream = stream
        self.is_small = is_small
        self.owner = owner
        self.statistics = statistics
        self.searches = searches
        self.free: list[tuple[int, int, Block]] = []
        self.unmapped: list[tuple[int, Block]] = []
        self.reserved_bytes = 0
        self.allocated_bytes = 0

    @property
    def largest_free_bytes(self) -> int:
        return self.free[-1][0] if self.free else 0

    def insert(self, block: Block) -> None:
        """Keep a mapped block as free (`insert_into_blocks`)."""
        block.is_free = True
        block.inserted_at = self.searches.count
        insort(self.free, (block.nbytes, block.address, block))

    def remove(self, block: Block) -> None:
        """Take a free mapped block out; it must not have changed since it was inserted."""
        block.is_free = False
        del self.free[bisect_left(self.free, (block.nbytes, block.address))]

    def insert_unmapped(self, block: Block) -> None:
        block.is_free = True
        insort(self.unmapped, (block.address, block))

    def remove_unmapped(self, block: Block) -> None:
        block.is_free = False
        del self.unmapped[bisect_left(self.unmapped, (block.address,))]

    def merge_neighbours(self, block: Block) -> None:
        """Merge a block that is in no list with free blocks beside it that are mapped, or not, as it is (`try_merge_blocks`)."""
        remove = self.remove if block.mapped else self.remove_unmapped
        if (previous := block.previous) is not None and previous.is_free and previous.mapped is block.mapped:
            remove(previous)
            block.absorb_previous()
        if (following := block.next) is not None and following.is_free and following.mapped is block.mapped:
            remove(following)
            block.absorb_next()
