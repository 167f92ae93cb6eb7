"""MemoryPool, and which one an allocation is served from: `torch.cuda.MemPool`, and the pools of CUDA graphs.

`beginAllocateToPool`, `endAllocateToPool`, `releasePool`, `create_or_incref_pool`, `get_pool` of c10/cuda/CUDACachingAllocator.cpp.
"""

from collections.abc import Callable, Iterator

from fakerun.allocator.blocks import BlockPool, SearchCount
from fakerun.allocator.settings import TorchVersion
from fakerun.allocator.sizes import LARGEST_SMALL_BYTES
from fakerun.allocator.statistics import PoolId, Statistics

DEFAULT_POOL: PoolId = (0, 0)

Applies = Callable[[int], bool]
"""Whether an allocation on this stream, made now, goes to a private pool."""

_CAPTURES_ARE_COUNTED: TorchVersion = (2, 13)
"""Since then (`markCaptureBegin`, in the headers of 2.13 and not of 2.11) a pool that allocations go to does not mean that a graph is
captured; before it did, so that under `use_mem_pool` no delayed free was completed and no cache released."""


class MemoryPool:
    """The default pool, or a private one: pools of blocks by stream.

    `use_count` is how many graphs, `MemPool`s and `use_mem_pool`s refer to it; what it caches is given back only when none does.
    `own_allocator` says that segments come from an allocator of the user's: such a pool has no expandable segments. `no_split` and
    `use_on_oom` are as of `torch.cuda.MemPool`.
    """

    def __init__(self, pool_id: PoolId, statistics: Statistics, *, own_allocator: bool = False) -> None:
        self.pool_id = pool_id
        self.own_allocator = own_allocator
        self.no_split = False
        self.use_count = 1
        self.small: dict[int, BlockPool] = {}
        self.large: dict[int, BlockPool] = {}
        self.large_searches = SearchCount()
        self._small_searches = SearchCount()
        self._statistics = statistics

    def pool_for(self, size_bytes: int, stream: int) -> BlockPool:
        """Where a request of this rounded size is served."""
        is_small = size_bytes <= LARGEST_SMALL_BYTES
        pools = self.small if is_small else self.large
        pool = pools.get(stream)
        if pool is None:
            statistics, searches = (
                (self._statistics.small_pool, self._small_searches) if is_small else (self._statistics.large_pool, self.large_searches)
            )
            pool = pools[stream] = BlockPool(stream, is_small, self, statistics, searches)
        return pool

    def pools(self) -> Iterator[BlockPool]:
        """By size, then stream."""
        for pools in (self.large, self.small):
            for stream in sorted(pools):
                yield pools[stream]

    @property
    def private_id(self) -> PoolId | None:
        """None of the default pool."""
        return None if self.pool_id == DEFAULT_POOL else self.pool_id

    @property
    def reserved_bytes(self) -> int:
        return sum(pool.reserved_bytes for pool in self.pools())


class MemoryPools:
    """The default pool, the private ones, and where allocations go now."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self.default = MemoryPool(DEFAULT_POOL, statistics)
        self.private: dict[PoolId, MemoryPool] = {}
        self.used_on_oom: list[PoolId] = []
        self.diverted: list[tuple[PoolId, Applies, bool]] = []

    def create(self, pool_id: PoolId, *, own_allocator: bool = False) -> MemoryPool:
        """Make it, or count one more use of it."""
        pool = self.private.get(pool_id)
        if pool is None:
            pool = self.private[pool_id] = MemoryPool(pool_id, self._statistics, own_allocator=own_allocator)
        elif pool.use_count <= 0 or own_allocator:
            raise RuntimeError(f"memory pool {pool_id} was released; make another")
        else:
            pool.use_count += 1
        return pool

    def begin(self, pool_id: PoolId, applies: Applies, *, capture: bool) -> None:
        if any(other == pool_id for other, _, _ in self.diverted):
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        self.create(pool_id)
        self.diverted.append((pool_id, applies, capture))

    def end(self, pool_id: PoolId) -> None:
        for index, (other, _, _) in enumerate(self.diverted):
            if other == pool_id:
                del self.diverted[index]
                return
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    def release(self, pool_id: PoolId) -> None:
        """One use fewer."""
        pool = self.private.get(pool_id)
        if pool is None or pool.use_count <= 0:
            raise RuntimeError(f"memory pool {pool_id} is not in use")
        pool.use_count -= 1

    def serving(self, stream: int) -> MemoryPool:
        """The one that an allocation on this stream goes to: of those that apply, the last that was begun."""
        for pool_id, applies, _ in reversed(self.diverted):
            if applies(stream):
                return self.private[pool_id]
        return self.default

    def capturing(self, torch_version: TorchVersion) -> bool:
        """Whether the allocator must not touch events, since a graph may be being captured."""
        if torch_version >= _CAPTURES_ARE_COUNTED:
            return any(capture for _, _, capture in self.diverted)
        return bool(self.diverted)

    def releasable(self, pool_id: PoolId) -> list[MemoryPool]:
        """Those that nothing refers to: all, or only this one."""
        return [pool for pool in self.private.values() if pool.use_count == 0 and pool_id in (DEFAULT_POOL, pool.pool_id)]

    def forget_empty(self, pool: MemoryPool) -> None:
        """Delete a released pool that holds nothing."""
        if not pool.reserved_bytes:
            del self.private[pool.pool_id]
            self.used_on_oom = [other for other in self.used_on_oom if other != pool.pool_id]

    def all(self) -> Iterator[MemoryPool]:
        yield self.default
        yield from self.private.values()
