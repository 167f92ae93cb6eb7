"""CachingAllocator: the allocator of one device.

`DeviceCachingAllocator` of c10/cuda/CUDACachingAllocator.cpp: `malloc`, `get_free_block`, `should_split`, `alloc_found_block`, `free`,
`free_block`, `recordStream`, `release_cached_blocks`, `setMemoryFraction`. It runs for each allocation of a program:
what is hot is inlined.
"""

from bisect import bisect_left
from collections.abc import Iterator

from fakerun.allocator.blocks import Block, BlockPool
from fakerun.allocator.device import DeviceMemory
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError, OutOfMemoryFigures
from fakerun.allocator.pending_frees import PendingFrees
from fakerun.allocator.private_pools import DEFAULT_POOL, Applies, MemoryPools
from fakerun.allocator.segments import Segments
from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.sizes import LARGEST_SMALL_BYTES, MIN_BLOCK_BYTES, new_segment_bytes, rounded_bytes
from fakerun.allocator.snapshot import SegmentRecord, segment_records
from fakerun.allocator.statistics import PoolId, Statistics

_LARGEST_REQUEST_BYTES = 1152921504606846976
"""One exbibyte: `NativeCachingAllocator::allocate` refuses it without looking. Of a device that never runs out it can be had."""


class CachingAllocator:
    """What a device's caching allocator does for the requests of a program, and what it holds then. All sizes in bytes.

    `total_bytes` is the device's memory, `capacity_bytes` what of it can be had, or None if memory never runs out. With
    `uses_end_at_once` other streams are through with a block as soon as it is freed, so that its free is delayed to the next request;
    without, when `complete_uses` says so. A stream is a number, 0 the default one. A block that was freed must not be used again.
    """

    def __init__(
        self, settings: AllocatorSettings, *, total_bytes: int, capacity_bytes: int | None = None, uses_end_at_once: bool = True
    ) -> None:
        self.device = DeviceMemory(total_bytes, capacity_bytes)
        self._counts = Statistics(settings.max_split_size_bytes)
        self._all = self._counts.all
        self._pools = MemoryPools(self._counts)
        self._segments = Segments(self.device, self._counts, settings)
        self._pending = PendingFrees()
        self._active: set[Block] = set()
        self._uses_end_at_once = uses_end_at_once
        self.settings = settings
        self.set_memory_fraction(settings.per_process_memory_fraction)

    @property
    def settings(self) -> AllocatorSettings:
        """Those in effect; they may be changed at any time, as `torch.cuda.memory._set_allocator_settings` does."""
        return self._settings

    @settings.setter
    def settings(self, settings: AllocatorSettings) -> None:
        self._settings = settings
        self._divisions = settings.divisions
        self._expandable = settings.expandable_segments
        self._max_split_size_bytes = settings.max_split_size_bytes
        self._rounding_limit_bytes = settings.max_non_split_rounding_bytes
        self._segments.apply(settings)
        self._collects_garbage = self._segments.collects_garbage

    def set_memory_fraction(self, fraction: float) -> None:
        """`torch.cuda.set_per_process_memory_fraction`.

        Raises:
            ValueError: it is not in [0, 1].
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"invalid fraction:{fraction:g}. Please set within [0, 1].")
        self._segments.allowed_bytes = int(fraction * self.device.total_bytes) if fraction < 1.0 else None
        self._collects_garbage = self._segments.collects_garbage

    def allocate(self, requested_bytes: int, stream: int = 0) -> Block:
        """Serve a request of at least one byte on a stream.

        Raises:
            AllocatorOutOfMemoryError: neither the cache nor the device can, not even after all that is cached was given back.
            ValueError: nothing is requested; torch allocates nothing then.
        """
        if requested_bytes <= 0:
            raise ValueError(f"a request has at least one byte, not {requested_bytes}")
        if self._pending.any and not self._capturing:
            self._end_uses()
        divisions = self._divisions
        size = rounded_bytes(requested_bytes, divisions) if divisions else (requested_bytes + MIN_BLOCK_BYTES - 1) & -MIN_BLOCK_BYTES
        pools = self._pools
        owner = pools.serving(stream) if pools.diverted else pools.default
        pool = (owner.small if size <= LARGEST_SMALL_BYTES else owner.large).get(stream) or owner.pool_for(size, stream)
        expandable = self._expandable and not owner.own_allocator
        block = self._take_cached(pool, size, expandable)
        if block is None:
            if requested_bytes >= _LARGEST_REQUEST_BYTES and self.device.capacity_bytes is not None:
                raise AllocatorOutOfMemoryError(None, "CUDA out of memory. Tried to allocate more than 1EB memory.")
            block, expandable = self._obtain(pool, size, expandable)
            pool = block.pool
        rest = block.nbytes - size
        if rest and self._should_split(pool, size, rest, expandable):
            block = self._split(block, size)
        elif block.expandable is None and (block.previous is not None or block.next is not None):
            self._all.count_inactive_split(-1, -block.nbytes)
            pool.statistics.count_inactive_split(-1, -block.nbytes)
        nbytes = block.nbytes
        block.allocated = True
        block.requested_bytes = requested_bytes
        self._active.add(block)
        pool.allocated_bytes += nbytes
        self._all.count_allocation(nbytes, requested_bytes)
        pool.statistics.count_allocation(nbytes, requested_bytes)
        if nbytes >= self._max_split_size_bytes:
            self._counts.oversize_allocations.change(1)
        return block

    def _take_cached(self, pool: BlockPool, size: int, expandable: bool) -> Block | None:
        """The best fit: the smallest free block that is large enough, at the lowest address (`get_free_block`)."""
        if self._collects_garbage:
            pool.searches.count += 1
        free = pool.free
        index = bisect_left(free, (size,))
        if index == len(free):
            return None
        nbytes, _, block = free[index]
        if block.expandable is not None:
            index = self._least_growing(free, index) if expandable else self._first_not_expandable(free, index)
            if index == len(free):
                return None
            nbytes, _, block = free[index]
        limit = self._max_split_size_bytes
        if nbytes >= (limit if size < limit else size + self._rounding_limit_bytes):
            return None
        del free[index]
        block.is_free = False
        return block

    @staticmethod
    def _least_growing(free: list[tuple[int, int, Block]], index: int) -> int:
        """A block in front of unmapped addresses counts as large as it can grow; go on while the next one counts less."""
        grown = _grown_bytes(free[index][2])
        while index + 1 < len(free) and free[index][2].expandable is not None:
            following = _grown_bytes(free[index + 1][2])
            if following >= grown:
                break
            index, grown = index + 1, following
        return index

    @staticmethod
    def _first_not_expandable(free: list[tuple[int, int, Block]], index: int) -> int:
        """Blocks of expandable segments are passed over while these are off."""
        while index < len(free) and free[index][2].expandable is not None:
            index += 1
        return index

    def _obtain(self, pool: BlockPool, size: int, expandable: bool) -> tuple[Block, bool]:
        """A block of new memory, and whether it may be split as one of expandable segments (`malloc`)."""
        if self._collects_garbage:
            self._segments.collect_garbage(self._pools.default)
        segment_bytes = new_segment_bytes(size, self._settings.large_segment_bytes)
        obtain = self._segments.obtain
        block = obtain(pool, size, segment_bytes, expandable=expandable)
        if block is None and pool.owner is self._pools.default:
            block = self._take_of_overflow_pool(size, pool.stream)
            if block is not None:
                return block, False
        if block is None and self._segments.release_oversize(pool, size):
            block = obtain(pool, size, segment_bytes, expandable=expandable)
        if block is None and not self._capturing:
            self.empty_cache()
            self._counts.num_alloc_retries += 1
            block = obtain(pool, size, segment_bytes, expandable=expandable)
        if block is None:
            self._counts.num_ooms += 1
            raise AllocatorOutOfMemoryError(self._figures(size, segment_bytes))
        return block, expandable

    def _take_of_overflow_pool(self, size: int, stream: int) -> Block | None:
        """A cached block of a private pool with `use_on_oom` (`try_mempool_fallback`)."""
        for pool_id in self._pools.used_on_oom:
            owner = self._pools.private[pool_id]
            if not owner.use_count:
                continue
            block = self._take_cached(owner.pool_for(size, stream), size, expandable=False)
            if block is not None:
                return block
        return None

    def _should_split(self, pool: BlockPool, size: int, rest: int, expandable: bool) -> bool:
        if pool.owner.no_split:
            return False
        if pool.is_small or expandable:
            return rest >= MIN_BLOCK_BYTES
        return size < self._max_split_size_bytes and rest > LARGEST_SMALL_BYTES

    def _split(self, rest: Block, size: int) -> Block:
        """Cut the request off the front of a block that is in no list; the rest is free."""
        pool = rest.pool
        was_split = rest.is_split
        block = Block(rest.address, size, pool, rest.expandable)
        block.put_before(rest)
        rest.address += size
        rest.nbytes -= size
        pool.insert(rest)
        if rest.expandable is None:
            change = (0, -size) if was_split else (1, rest.nbytes)
            self._all.count_inactive_split(*change)
            pool.statistics.count_inactive_split(*change)
        return block

    def free(self, block: Block) -> None:
        """Take a block back; it is cached at once, or once the streams that it was used on are through with it.

        Raises:
            ValueError: it is not allocated.
        """
        if not block.allocated:
            raise ValueError("a block is freed that is not allocated")
        block.allocated = False
        nbytes, pool = block.nbytes, block.pool
        pool.allocated_bytes -= nbytes
        self._all.count_free(nbytes)
        pool.statistics.count_free(nbytes)
        if nbytes >= self._max_split_size_bytes:
            self._counts.oversize_allocations.change(-1)
        if not block.stream_uses:
            self._cache(block)
        elif self._capturing:
            self._pending.defer(block)
        else:
            self._pending.add(block)

    def _cache(self, block: Block) -> None:
        """Make a block free that no stream uses any more, and merge it with free ones beside it (`free_block`)."""
        pool, nbytes = block.pool, block.nbytes
        self._active.discard(block)
        self._all.count_end_of_use(nbytes, block.requested_bytes)
        pool.statistics.count_end_of_use(nbytes, block.requested_bytes)
        merged = 0
        previous, following = block.previous, block.next
        if previous is not None and previous.is_free and previous.mapped:
            pool.remove(previous)
            block.absorb_previous()
            merged += 1
        if following is not None and following.is_free and following.mapped:
            pool.remove(following)
            block.absorb_next()
            merged += 1
        pool.insert(block)
        if block.expandable is None:
            # Neighbours were free parts of the segment; what they become is one, or the whole segment, which is none.
            is_part = block.is_split
            change = is_part - merged, (block.nbytes if is_part else 0) - (block.nbytes - nbytes)
            self._all.count_inactive_split(*change)
            pool.statistics.count_inactive_split(*change)

    def record_stream(self, block: Block, stream: int) -> None:
        """`Tensor.record_stream`: work on this stream uses the block, too. Its own stream changes nothing."""
        if stream == block.pool.stream:
            return
        if block.stream_uses is None:
            block.stream_uses = set()
        block.stream_uses.add(stream)
        if self._capturing:
            self._pending.note_use_in_capture(block, stream)

    def complete_uses(self, stream: int | None = None) -> None:
        """The device is through with the work that was queued on a stream, or on all, until now; the next request sees it."""
        self._pending.complete(stream)

    @property
    def _capturing(self) -> bool:
        return bool(self._pools.diverted) and self._pools.capturing(self._settings.torch_version)

    def _end_uses(self) -> None:
        """Cache blocks whose uses on other streams are over (`process_events`)."""
        for block in self._pending.record_deferred():
            self._cache(block)
        for block in self._pending.take_completed(at_once=self._uses_end_at_once):
            self._cache(block)

    def empty_cache(self, pool_id: PoolId = DEFAULT_POOL) -> None:
        """`torch.cuda.empty_cache`: wait for pending frees, and give back all that no block is in use of.

        Of private pools only those that were released; with a `pool_id`, of that one alone (`release_cached_blocks`).
        """
        if pool_id == DEFAULT_POOL and not self._capturing:
            self._synchronize(None)
            self._segments.release_cached(self._pools.default)
        for owner in self._pools.releasable(pool_id):
            if pool_id != DEFAULT_POOL:
                self._synchronize(pool_id)
            self._segments.release_cached(owner)
            self._pools.forget_empty(owner)

    def _synchronize(self, pool_id: PoolId | None) -> None:
        """Wait for the pending frees, of one private pool or all (`synchronize_and_free_events`)."""
        self._counts.num_sync_all_streams += 1
        for block in self._pending.record_deferred():
            self._cache(block)
        for block in self._pending.take_all(lambda block: pool_id in (None, block.pool.owner.pool_id)):
            self._cache(block)

    def create_pool(self, pool_id: PoolId, *, own_allocator: bool = False, use_on_oom: bool = False, no_split: bool = False) -> None:
        """`torch.cuda.MemPool(allocator, use_on_oom, no_split)`: a private pool with one use. `own_allocator`: it has an allocator."""
        pool = self._pools.create(pool_id, own_allocator=own_allocator)
        pool.no_split = pool.no_split or no_split
        if use_on_oom and pool_id not in self._pools.used_on_oom:
            self._pools.used_on_oom.append(pool_id)

    def begin_pool(self, pool_id: PoolId, applies: Applies = lambda stream: True, *, capture: bool = False) -> None:
        """Serve allocations for which `applies(stream)` from this private pool; that is one more use of it.

        `torch.cuda.use_mem_pool` applies to those of its thread, the capture of a CUDA graph (`capture`) to those of its streams.

        Raises:
            RuntimeError: allocations go there already, or it was released.
        """
        self._pools.begin(pool_id, applies, capture=capture)

    def end_pool(self, pool_id: PoolId) -> None:
        """No longer; the use of it remains until `release_pool`.

        Raises:
            RuntimeError: allocations do not go there.
        """
        self._pools.end(pool_id)

    def release_pool(self, pool_id: PoolId) -> None:
        """One use fewer: `use_mem_pool` ends, a graph is reset, a `MemPool` is deleted, which calls `empty_cache(pool_id)` then.

        Raises:
            RuntimeError: it has none.
        """
        self._pools.release(pool_id)

    def pool_use_count(self, pool_id: PoolId) -> int:
        """`MemPool.use_count()`; 0 of a pool that is gone."""
        pool = self._pools.private.get(pool_id)
        return 0 if pool is None else pool.use_count

    def has_pool(self, pool_id: PoolId) -> bool:
        """Whether there is this private pool: it is used, or still holds something."""
        return pool_id in self._pools.private

    def pools(self) -> Iterator[BlockPool]:
        """The pools of blocks, by memory pool, size and stream: what each has reserved, allocated, and as its largest free block."""
        for owner in self._pools.all():
            yield from owner.pools()

    @property
    def allocated_bytes(self) -> int:
        return self._all.allocated_bytes

    @property
    def peak_allocated_bytes(self) -> int:
        return self._all.peak_allocated_bytes

    @property
    def reserved_bytes(self) -> int:
        return self._all.reserved_bytes.current

    @property
    def peak_reserved_bytes(self) -> int:
        return self._all.reserved_bytes.peak

    @property
    def active_bytes(self) -> int:
        return self._all.active_bytes

    @property
    def peak_active_bytes(self) -> int:
        return self._all.peak_active_bytes

    @property
    def num_alloc_retries(self) -> int:
        return self._counts.num_alloc_retries

    def reset_peak(self) -> None:
        """`torch.cuda.reset_peak_memory_stats`."""
        self._counts.reset_peak()

    def reset_accumulated(self) -> None:
        """`torch.cuda.reset_accumulated_memory_stats`."""
        self._counts.reset_accumulated()

    def statistics(self) -> dict[str, int]:
        """What `torch.cuda.memory_stats` returns."""
        return self._counts.as_torch(self._settings.torch_version)

    def snapshot(self, pool_id: PoolId = DEFAULT_POOL) -> tuple[SegmentRecord, ...]:
        """Every segment of all pools, or of one private pool, in order of address."""
        blocks = [block for pool in self.pools() for _, _, block in pool.free]
        return segment_records(block for block in (*blocks, *self._active) if pool_id in (DEFAULT_POOL, block.pool.owner.pool_id))

    def _figures(self, size: int, segment_bytes: int) -> OutOfMemoryFigures:
        return OutOfMemoryFigures(
            requested_bytes=segment_bytes,
            size_bytes=size,
            total_bytes=self.device.total_bytes,
            free_bytes=self.device.free_bytes,
            allowed_bytes=self._segments.allowed_bytes,
            allocated_bytes=self.allocated_bytes,
            private_pool_bytes=sum(
                nbytes for owner in self._pools.private.values() for pool in owner.pools() for nbytes, _, _ in pool.free
            ),
            reserved_bytes=self.reserved_bytes,
        )


def _grown_bytes(block: Block) -> int:
    """How large a free block can become (`expandable_size`)."""
    following = block.next
    return block.nbytes + (following.nbytes if following is not None and not following.mapped else 0)
