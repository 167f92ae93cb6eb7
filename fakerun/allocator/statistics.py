"""Statistics: the counters of `torch.cuda.memory_stats`.

What each counts: `DeviceStats` (c10/core/CachingDeviceAllocator.h of 2.11, 2.13 and 2.14.1), and where c10/cuda/CUDACachingAllocator.cpp
changes it. Their names: `torch.cuda.memory_stats` and `torch.cuda.memory_summary`, which read them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fakerun.allocator.settings import UNLIMITED, TorchVersion

PoolId = tuple[int, int]
"""Of a private pool: `torch.cuda.MemPool.id`. The default pool is (0, 0)."""

_NUMBERS = (*("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free", "num_oom_rejections"),)
_OF_PRIVATE_POOLS: TorchVersion = (2, 13)  # not in the headers of 2.11; 2.12 was not seen
_OF_REJECTIONS: TorchVersion = (2, 12)


class Counter:
    """A quantity, its largest value, and by how much it grew and shrank in all (`Stat`, c10/core/Allocator.h)."""

    __slots__ = ("allocated", "current", "freed", "peak")

    def __init__(self, current: int = 0, peak: int = 0, allocated: int = 0, freed: int = 0) -> None:
        self.current = current
        self.peak = peak
        self.allocated = allocated
        self.freed = freed

    def change(self, amount: int) -> None:
        """Increase by a positive amount, decrease by a negative one."""
        self.current += amount
        if amount > 0:
            self.allocated += amount
            if self.current > self.peak:  # `max` takes longer, and this is called for every second free
                self.peak = self.current
        else:
            self.freed -= amount

    def reset_peak(self) -> None:
        self.peak = self.current

    def reset_accumulated(self) -> None:
        self.allocated = self.freed = 0


class PoolStatistics:
    """The counters of all small blocks, of all large ones, or of all: `DeviceStats` has them three times.

    Five of the nine change with each allocation and are plain numbers here, since that is what takes the time of a replay: how many blocks
    are allocated, or active, their bytes, and the bytes that were requested. They grow only when a block is handed out, allocated and
    active ones alike; how much they shrank follows from what they were at the last reset (`_reset`), how much they grew, and what they are.
    """

    __slots__ = (
        *("allocation", "allocated_bytes", "active", "active_bytes", "requested_bytes"),
        *("_peak_allocation", "peak_allocated_bytes", "_peak_active", "peak_active_bytes", "_peak_requested_bytes"),
        *("_grown_allocation", "_grown_bytes", "_grown_requested", "_reset"),
        *("segment", "reserved_bytes", "inactive_split", "inactive_split_bytes"),
    )

    def __init__(self) -> None:
        self.allocation = self.allocated_bytes = self.active = self.active_bytes = self.requested_bytes = 0
        self._peak_allocation = self.peak_allocated_bytes = self._peak_active = self.peak_active_bytes = self._peak_requested_bytes = 0
        self.segment, self.reserved_bytes, self.inactive_split, self.inactive_split_bytes = (Counter() for _ in range(4))
        self.reset_accumulated()

    def count_allocation(self, nbytes: int, requested_bytes: int) -> None:
        """A block is handed out (`alloc_found_block`)."""
        self._grown_allocation += 1
        self._grown_bytes += nbytes
        self._grown_requested += requested_bytes
        self.allocation = count = self.allocation + 1
        if count > self._peak_allocation:
            self._peak_allocation = count
        self.active = count = self.active + 1
        if count > self._peak_active:
            self._peak_active = count
        self.allocated_bytes = total = self.allocated_bytes + nbytes
        if total > self.peak_allocated_bytes:
            self.peak_allocated_bytes = total
        self.active_bytes = total = self.active_bytes + nbytes
        if total > self.peak_active_bytes:
            self.peak_active_bytes = total
        self.requested_bytes = total = self.requested_bytes + requested_bytes
        if total > self._peak_requested_bytes:
            self._peak_requested_bytes = total

    def count_free(self, nbytes: int) -> None:
        """A block is no longer allocated; it may still be active (`free`)."""
        self.allocation -= 1
        self.allocated_bytes -= nbytes

    def count_end_of_use(self, nbytes: int, requested_bytes: int) -> None:
        """A block is cached (`free_block`)."""
        self.active -= 1
        self.active_bytes -= nbytes
        self.requested_bytes -= requested_bytes

    def count_inactive_split(self, blocks: int, nbytes: int) -> None:
        """The number and the bytes of free blocks that are parts of segments change by so much."""
        if blocks:
            self.inactive_split.change(blocks)
        if nbytes:
            self.inactive_split_bytes.change(nbytes)

    def _rare(self) -> tuple[Counter, ...]:
        return (self.segment, self.reserved_bytes, self.inactive_split, self.inactive_split_bytes)

    def reset_peak(self) -> None:
        self._peak_allocation, self.peak_allocated_bytes = self.allocation, self.allocated_bytes
        self._peak_active, self.peak_active_bytes = self.active, self.active_bytes
        self._peak_requested_bytes = self.requested_bytes
        for counter in self._rare():
            counter.reset_peak()

    def reset_accumulated(self) -> None:
        self._grown_allocation = self._grown_bytes = self._grown_requested = 0
        self._reset = (self.allocation, self.allocated_bytes, self.active, self.active_bytes, self.requested_bytes)
        for counter in self._rare():
            counter.reset_accumulated()

    def counters(self) -> dict[str, Counter]:
        """All nine by torch's names."""
        names = ("allocation", "allocated_bytes", "active", "active_bytes", "requested_bytes")
        grown = (self._grown_allocation, self._grown_bytes, self._grown_allocation, self._grown_bytes, self._grown_requested)
        peaks = (
            *(self._peak_allocation, self.peak_allocated_bytes, self._peak_active, self.peak_active_bytes),
            self._peak_requested_bytes,
        )
        current = [getattr(self, name) for name in names]
        often = {
            name: Counter(now, peak, more, before + more - now)
            for name, now, peak, more, before in zip(names, current, peaks, grown, self._reset, strict=True)
        }
        return often | {name: getattr(self, name) for name in ("segment", "reserved_bytes", "inactive_split", "inactive_split_bytes")}


class ReservedBytes(NamedTuple):
    """What a private pool holds."""

    all: Counter
    large_pool: Counter
    small_pool: Counter


class Statistics:
    """All counters of one device. `max_split_size_bytes` is that of the settings it begins with: torch does not update it."""

    def __init__(self, max_split_size_bytes: int) -> None:
        self.all = PoolStatistics()
        self.small_pool = PoolStatistics()
        self.large_pool = PoolStatistics()
        self.oversize_allocations = Counter()
        self.oversize_segments = Counter()
        self.reserved_bytes_by_private_pools: dict[PoolId, ReservedBytes] = {}
        self._max_split_size_bytes = max_split_size_bytes
        self._reset_numbers()

    def _reset_numbers(self) -> None:
        self.num_alloc_retries = self.num_ooms = self.num_sync_all_streams = 0
        self.num_device_alloc = self.num_device_free = self.num_oom_rejections = 0

    def count_reserved(self, pool: PoolStatistics, private_pool: PoolId | None, nbytes: int) -> None:
        """What a pool has reserved changes by so many bytes."""
        self.all.reserved_bytes.change(nbytes)
        pool.reserved_bytes.change(nbytes)
        if private_pool is not None:
            kept = self.reserved_bytes_by_private_pools
            reserved = kept.get(private_pool) or kept.setdefault(private_pool, ReservedBytes(Counter(), Counter(), Counter()))
            reserved.all.change(nbytes)
            (reserved.small_pool if pool is self.small_pool else reserved.large_pool).change(nbytes)

    def _parts(self) -> Iterator[PoolStatistics | Counter]:
        yield from (self.all, self.small_pool, self.large_pool, self.oversize_allocations, self.oversize_segments)
        for reserved in self.reserved_bytes_by_private_pools.values():
            yield from reserved

    def reset_peak(self) -> None:
        """`torch.cuda.reset_peak_memory_stats`."""
        for part in self._parts():
            part.reset_peak()

    def reset_accumulated(self) -> None:
        """`torch.cuda.reset_accumulated_memory_stats`."""
        for part in self._parts():
            part.reset_accumulated()
        self._reset_numbers()

    def as_torch(self, torch_version: TorchVersion) -> dict[str, int]:
        """What `torch.cuda.memory_stats` returns, in its order."""
        result = {name: getattr(self, name) for name in _NUMBERS}
        # A size_t becomes a signed number, and so no limit -1.
        result["max_split_size"] = -1 if self._max_split_size_bytes == UNLIMITED else self._max_split_size_bytes
        if torch_version < _OF_REJECTIONS:
            del result["num_oom_rejections"]
        named = {"oversize_allocations": self.oversize_allocations, "oversize_segments": self.oversize_segments}
        for pool in ("all", "small_pool", "large_pool"):
            statistics: PoolStatistics = getattr(self, pool)
            named |= {f"{metric}.{pool}": counter for metric, counter in statistics.counters().items()}
        if torch_version >= _OF_PRIVATE_POOLS:
            for pool_id, reserved in self.reserved_bytes_by_private_pools.items():
                prefix = f"reserved_bytes_by_private_pools.{pool_id[0]}_{pool_id[1]}"
                named |= {f"{prefix}.{name}": counter for name, counter in reserved._asdict().items()}
        kinds = ("current", "peak", "allocated", "freed")
        result |= {f"{name}.{kind}": getattr(counter, kind) for name, counter in named.items() for kind in kinds}
        return dict(sorted(result.items()))
