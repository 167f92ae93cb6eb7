"""The rules of the caching allocator, one by one: expectations of torch's test_cuda.py where it has some, else the function is named."""

import math

import pytest

from fakerun.allocator import AllocatorOutOfMemoryError, AllocatorSettings, Block, CachingAllocator
from fakerun.allocator.sizes import MIB

TOTAL = 80 * 1024 * MIB
POOL = (0, 1)
OTHER_POOL = (0, 2)


def make(
    text: str = "", *, total: int = TOTAL, capacity: int | None = None, at_once: bool = True, torch: tuple[int, int] = (2, 14)
) -> CachingAllocator:
    settings = AllocatorSettings.parse(text, torch)
    return CachingAllocator(settings, total_bytes=total, capacity_bytes=capacity, uses_end_at_once=at_once)


def set_settings(allocator: CachingAllocator, text: str) -> None:
    allocator.settings = allocator.settings.updated(text)


def allow(allocator: CachingAllocator, nbytes: int) -> None:
    """As tests of torch limit the memory."""
    fraction = nbytes / allocator.device.total_bytes
    allocator.set_memory_fraction(fraction if int(fraction * allocator.device.total_bytes) == nbytes else math.nextafter(fraction, 1.0))


def layout(allocator: CachingAllocator) -> list[tuple[str, int, list[tuple[int, str]]]]:
    """Type, stream and blocks of each segment, in MiB."""
    kinds = {"active_allocated": "used", "active_pending_free": "pending", "inactive": "free"}
    return [
        (
            ("large" if segment.is_large else "small") + ("+" if segment.is_expandable else ""),
            segment.stream,
            [(block.nbytes // MIB, kinds[block.state]) for block in segment.blocks],
        )
        for segment in allocator.snapshot()
    ]


def test_small_and_large_requests_have_pools_of_their_own() -> None:
    allocator = make()
    small, large = allocator.allocate(MIB), allocator.allocate(MIB + 1)
    assert layout(allocator) == [("small", 0, [(1, "used"), (1, "free")]), ("large", 0, [(1, "used"), (18, "free")])]
    assert (small.nbytes, large.nbytes, allocator.reserved_bytes) == (MIB, MIB + 512, 22 * MIB)


def test_a_stream_does_not_get_what_another_cached() -> None:
    allocator = make()
    allocator.free(allocator.allocate(30 * MIB, stream=1))
    allocator.allocate(30 * MIB, stream=2)
    assert allocator.reserved_bytes == 60 * MIB
    allocator.allocate(30 * MIB, stream=1)
    assert allocator.reserved_bytes == 60 * MIB


def test_the_smallest_block_that_fits_is_taken_and_of_equals_the_one_reserved_last() -> None:
    allocator = make()
    blocks = [allocator.allocate(size * MIB) for size in (40, 30, 50, 30)]
    addresses = [block.address for block in blocks]
    for block in blocks:
        allocator.free(block)
    assert [allocator.allocate(size * MIB).address for size in (30, 30, 20)] == [addresses[3], addresses[1], addresses[0]]


def test_the_request_gets_the_lower_addresses_and_a_large_rest_of_at_most_1_mib_stays_with_it() -> None:
    """`should_split`: what is not split off counts as allocated, not as requested."""
    allocator = make()
    block = allocator.allocate(11 * MIB)  # its segment has 12 MiB
    address = block.address
    assert (block.nbytes, block.requested_bytes, allocator.allocated_bytes) == (12 * MIB, 11 * MIB, 12 * MIB)
    assert allocator.statistics()["requested_bytes.all.current"] == 11 * MIB
    allocator.free(block)
    lower = allocator.allocate(11 * MIB - 512)
    assert (lower.nbytes, lower.address) == (11 * MIB - 512, address)
    assert layout(allocator) == [("large", 0, [(10, "used"), (1, "free")])]


@pytest.mark.parametrize("text", ["", "expandable_segments:True"])
def test_freed_blocks_merge_with_free_neighbours_at_once(text: str) -> None:
    allocator = make(text)
    blocks = [allocator.allocate(4 * MIB) for _ in range(4)]
    allocator.free(blocks[0])
    allocator.free(blocks[2])
    assert [size for _, _, row in layout(allocator) for size, _ in row] == [4, 4, 4, 4, 4]
    allocator.free(blocks[1])
    assert [size for _, _, row in layout(allocator) for size, _ in row] == [12, 4, 4]


def test_record_stream_delays_a_free_to_the_first_request_after_the_use() -> None:
    allocator = make(at_once=False)
    block = allocator.allocate(30 * MIB)
    allocator.record_stream(block, 0)  # its own
    allocator.record_stream(block, 1)
    allocator.record_stream(block, 2)
    allocator.free(block)
    assert (allocator.allocated_bytes, allocator.active_bytes) == (0, 30 * MIB)
    assert layout(allocator) == [("large", 0, [(30, "pending")])]
    allocator.allocate(512)
    allocator.complete_uses(1)
    allocator.allocate(512)
    assert allocator.active_bytes == 30 * MIB + 1024
    allocator.complete_uses(2)
    assert allocator.active_bytes == 30 * MIB + 1024
    assert allocator.allocate(30 * MIB).nbytes == 30 * MIB
    assert allocator.reserved_bytes == 32 * MIB


def test_a_use_that_ends_at_once_delays_a_free_to_the_next_request() -> None:
    allocator = make()
    block = allocator.allocate(30 * MIB)
    allocator.record_stream(block, 1)
    allocator.free(block)
    assert allocator.active_bytes == 30 * MIB
    allocator.allocate(30 * MIB)
    assert allocator.reserved_bytes == 30 * MIB


def test_later_uses_of_a_stream_are_not_over_with_earlier_ones() -> None:
    allocator = make(at_once=False)
    first, second = (allocator.allocate(30 * MIB) for _ in range(2))
    for block in (first, second):
        allocator.record_stream(block, 1)
    allocator.free(first)
    allocator.complete_uses(1)
    allocator.free(second)
    allocator.allocate(512)
    assert [one for one in layout(allocator) if one[0] == "large"] == [("large", 0, [(30, "pending")]), ("large", 0, [(30, "free")])]


def test_empty_cache_waits_for_uses_and_returns_whole_segments_only() -> None:
    allocator = make(at_once=False)
    block, kept = allocator.allocate(30 * MIB), allocator.allocate(4 * MIB)
    allocator.record_stream(block, 1)
    allocator.free(block)
    allocator.empty_cache()
    assert layout(allocator) == [("large", 0, [(4, "used"), (16, "free")])]
    assert allocator.statistics()["num_sync_all_streams"] == 1
    allocator.free(kept)
    allocator.empty_cache()
    assert (allocator.reserved_bytes, allocator.device.given_bytes) == (0, 0)


def test_expandable_segments_map_pages_of_20_mib_and_only_what_the_free_block_in_front_lacks() -> None:
    """`try_allocate_expandable_block`, `map_block`."""
    allocator = make("expandable_segments:True")
    first = allocator.allocate(30 * MIB)
    assert layout(allocator) == [("large+", 0, [(30, "used"), (10, "free")])]
    second = allocator.allocate(25 * MIB)  # 15 MiB more than the 10 that are free
    assert layout(allocator) == [("large+", 0, [(30, "used"), (25, "used"), (5, "free")])]
    assert second.address == first.address + 30 * MIB
    assert allocator.statistics()["num_device_alloc"] == 2
    assert allocator.statistics()["segment.all.current"] == 0
    allocator.allocate(512)
    allocator.allocate(512, stream=3)
    assert [(kind, stream) for kind, stream, _ in layout(allocator)] == [("small+", 3), ("small+", 0), ("large+", 0)]
    assert allocator.reserved_bytes == 64 * MIB


def test_expandable_segments_return_whole_pages_and_fill_gaps_first() -> None:
    """`unmap_block`, `find_expandable_block`."""
    allocator = make("expandable_segments:True")
    blocks = [allocator.allocate(size * MIB) for size in (30, 45, 5)]
    allocator.free(blocks[1])
    assert allocator.reserved_bytes == 80 * MIB
    allocator.empty_cache()  # of 30 to 75 MiB the page from 40 to 60
    assert layout(allocator) == [("large+", 0, [(30, "used"), (10, "free")]), ("large+", 0, [(15, "free"), (5, "used")])]
    assert allocator.allocate(40 * MIB).address == blocks[0].address + 30 * MIB
    assert layout(allocator) == [("large+", 0, [(30, "used"), (40, "used"), (5, "free"), (5, "used")])]
    assert allocator.reserved_bytes == 80 * MIB


def test_an_expandable_segment_is_deleted_with_its_last_page() -> None:
    allocator = make("expandable_segments:True")
    allocator.free(allocator.allocate(30 * MIB))
    allocator.empty_cache()
    assert (allocator.snapshot(), allocator.reserved_bytes) == ((), 0)
    assert not [pool for pool in allocator.pools() if pool.unmapped or pool.free]


def test_a_block_that_can_grow_counts_as_large_as_it_can_become() -> None:
    """`get_free_block`: a free block of 20 MiB in front of unmapped addresses is passed over for one of 30 MiB between others."""
    allocator = make("expandable_segments:True")
    hole, _ = allocator.allocate(30 * MIB), allocator.allocate(10 * MIB)
    tail = allocator.allocate(20 * MIB)
    address = hole.address
    allocator.free(hole)
    allocator.free(tail)
    assert allocator.allocate(15 * MIB).address == address


def test_max_split_size_keeps_large_blocks_for_large_requests() -> None:
    """`get_free_block`, `should_split`."""
    allocator = make("max_split_size_mb:40")
    allocator.free(allocator.allocate(100 * MIB))
    allocator.allocate(30 * MIB)  # not of the 100
    assert allocator.reserved_bytes == 130 * MIB
    kept = allocator.allocate(90 * MIB)  # less than 20 MiB smaller: whole
    assert (kept.nbytes, allocator.reserved_bytes) == (100 * MIB, 130 * MIB)
    allocator.free(kept)
    allocator.allocate(80 * MIB)  # 20 MiB smaller: not of the 100
    assert allocator.reserved_bytes == 210 * MIB
    counts = allocator.statistics()
    assert (counts["max_split_size"], counts["oversize_segments.current"], counts["oversize_allocations.current"]) == (40 * MIB, 2, 1)


def test_running_out_returns_oversize_blocks_of_the_stream_before_all_that_is_cached() -> None:
    """`release_available_cached_blocks`: 60 MiB of the stream are enough, and nothing of another stream goes."""
    allocator = make("max_split_size_mb:40", capacity=160 * MIB)
    others = allocator.allocate(60 * MIB, stream=1)
    mine = [allocator.allocate(50 * MIB), allocator.allocate(50 * MIB)]
    for block in (others, *mine):
        allocator.free(block)
    allocator.allocate(75 * MIB)
    assert allocator.num_alloc_retries == 0
    assert layout(allocator) == [("large", 0, [(76, "used")]), ("large", 1, [(60, "free")])]


def test_running_out_returns_all_that_is_cached_and_tries_again() -> None:
    allocator = make(capacity=100 * MIB)
    blocks = [allocator.allocate(40 * MIB, stream=stream) for stream in (0, 1)]
    for block in blocks:
        allocator.free(block)
    allocator.allocate(70 * MIB)
    counts = allocator.statistics()
    assert (counts["num_alloc_retries"], counts["num_ooms"], allocator.reserved_bytes) == (1, 0, 70 * MIB)


def test_out_of_memory_in_torchs_words() -> None:
    allocator = make(total=80 * 1024 * MIB, capacity=100 * MIB)
    allocator.allocate(70 * MIB)
    allocator.allocate(3 * MIB)
    with pytest.raises(AllocatorOutOfMemoryError) as refused:
        allocator.allocate(31 * MIB - 5)
    assert refused.value.message(3, "Process 17 has 1.00 GiB memory in use. ") == (
        "CUDA out of memory. Tried to allocate 32.00 MiB. GPU 3 has a total capacity of 80.00 GiB of which 10.00 MiB is free. Process 17 "
        "has 1.00 GiB memory in use. Of the allocated memory 73.00 MiB is allocated by PyTorch, and 17.00 MiB is reserved by PyTorch but "
        "unallocated. If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid "
        "fragmentation.  See documentation for Memory Management  "
        "(https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
    )
    figures = refused.value.figures
    assert figures is not None
    assert (figures.size_bytes, figures.unallocated_bytes) == (31 * MIB, 17 * MIB)
    assert (allocator.statistics()["num_ooms"], allocator.num_alloc_retries) == (1, 1)
    allocator.allocate(10 * MIB)  # it goes on


def test_a_failed_mapping_leaves_nothing_mapped() -> None:
    allocator = make("expandable_segments:True", capacity=50 * MIB)
    allocator.allocate(30 * MIB)
    with pytest.raises(AllocatorOutOfMemoryError):
        allocator.allocate(35 * MIB)
    assert allocator.reserved_bytes == 40 * MIB


def test_more_than_an_exbibyte_is_refused() -> None:
    with pytest.raises(AllocatorOutOfMemoryError, match="more than 1EB"):
        make(capacity=50 * MIB).allocate(2**60)


def test_a_device_that_never_runs_out_has_more_than_an_exbibyte() -> None:
    """A job that asks for that does not fit, as one that asks for little too much."""
    assert make().allocate(2**60).nbytes == 2**60
    assert make("expandable_segments:True").allocate(2**60).nbytes == 2**60


def test_set_per_process_memory_fraction() -> None:
    """test_cuda.py, test_set_per_process_memory_fraction: half of what is allowed twice is too much; the cache is counted."""
    allocator = make(total=1000 * MIB)
    allocator.set_memory_fraction(0.5)
    allocator.free(allocator.allocate(499 * MIB))
    with pytest.raises(AllocatorOutOfMemoryError, match=r"500\.00 MiB allowed; "):
        allocator.allocate(502 * MIB)
    for fraction in (-0.1, 2.0):
        with pytest.raises(ValueError, match="invalid fraction"):
            allocator.set_memory_fraction(fraction)
    allocator.set_memory_fraction(1.0)
    allocator.allocate(600 * MIB)


def test_requests_beyond_the_fraction_may_be_rejected_without_a_retry() -> None:
    """`throw_on_cudamalloc_oom` (pull request 179473)."""
    allocator = make("per_process_memory_fraction:0.5,throw_on_cudamalloc_oom:True", total=1000 * MIB)
    allocator.free(allocator.allocate(400 * MIB))
    with pytest.raises(AllocatorOutOfMemoryError, match=r"CUDA out of memory\. Allocation was preemptively rejected"):
        allocator.allocate(450 * MIB)
    counts = allocator.statistics()
    assert (counts["num_oom_rejections"], counts["num_ooms"], counts["num_alloc_retries"]) == (1, 0, 0)
    assert allocator.reserved_bytes == 400 * MIB


def test_max_split_expandable() -> None:
    """test_cuda.py, test_max_split_expandable: blocks of expandable segments are among those that are looked at for release."""
    allocator = make()
    allow(allocator, 120 * MIB)
    blocks = []
    for expandable in (False, True, False):
        set_settings(allocator, f"expandable_segments:{expandable},max_split_size_mb:40")
        blocks.append(allocator.allocate(40 * MIB))
    with pytest.raises(AllocatorOutOfMemoryError):
        allocator.allocate(40 * MIB)
    for block in blocks:
        allocator.free(block)
    allocator.allocate(120 * MIB)
    assert allocator.reserved_bytes == 120 * MIB


def test_garbage_collect_expandable() -> None:
    """test_cuda.py, test_garbage_collect_expandable: garbage collection does not touch expandable segments."""
    allocator = make()
    allow(allocator, 120 * MIB)
    set_settings(allocator, "expandable_segments:False,garbage_collection_threshold:0.5")
    first = allocator.allocate(40 * MIB)
    set_settings(allocator, "expandable_segments:True,garbage_collection_threshold:0.5")
    second = allocator.allocate(40 * MIB)
    allocator.free(first)
    allocator.free(second)
    allocator.allocate(80 * MIB)
    assert layout(allocator) == [("large+", 0, [(80, "used")])]


def test_garbage_collection_returns_blocks_of_at_least_the_mean_age() -> None:
    """`garbage_collect_cached_blocks`: the one that was free for long goes, the one that was just freed stays."""
    allocator = make("garbage_collection_threshold:0.5")
    allow(allocator, 200 * MIB)
    old, young, used = (allocator.allocate(size * MIB) for size in (50, 40, 30))
    allocator.free(old)
    for _ in range(3):
        allocator.free(used)
        used = allocator.allocate(30 * MIB)
    allocator.free(young)
    allocator.allocate(60 * MIB)  # 120 MiB are held, 20 more than the threshold
    assert layout(allocator) == [("large", 0, [(60, "used")]), ("large", 0, [(30, "used")]), ("large", 0, [(40, "free")])]
    assert allocator.num_alloc_retries == 0


def test_expandable_segments_off_again_leaves_their_blocks_alone() -> None:
    allocator = make("expandable_segments:True")
    allocator.free(allocator.allocate(40 * MIB))
    set_settings(allocator, "expandable_segments:False")
    allocator.allocate(30 * MIB)
    assert allocator.reserved_bytes == 70 * MIB


def test_the_counters_are_those_of_torch() -> None:
    """What `torch.cuda.memory_stats` documents and `torch.cuda.memory_summary` reads, 2.14.1; the former flattens and sorts them."""
    by_pool = (
        *("allocated_bytes", "active_bytes", "requested_bytes", "reserved_bytes", "inactive_split_bytes"),
        *("allocation", "active", "segment", "inactive_split"),
    )
    single = ("oversize_allocations", "oversize_segments")
    kinds = ("current", "peak", "allocated", "freed")
    numbers = {"num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free", "num_oom_rejections"}
    names = {f"{name}.{pool}" for name in by_pool for pool in ("all", "small_pool", "large_pool")}.union(single)
    counts = make().statistics()
    assert list(counts) == sorted({f"{name}.{kind}" for name in names for kind in kinds} | numbers | {"max_split_size"})
    assert (counts.pop("max_split_size"), set(counts.values())) == (-1, {0})
    assert "num_oom_rejections" not in make(torch=(2, 11)).statistics()


def test_inactive_split_counts_free_parts_of_segments() -> None:
    """`alloc_found_block` and `free_block`; expandable segments have none."""
    allocator = make()
    blocks = [allocator.allocate(4 * MIB) for _ in range(2)]
    key = "inactive_split_bytes.large_pool.current"
    assert (allocator.statistics()[key], allocator.statistics()["inactive_split.all.current"]) == (12 * MIB, 1)
    allocator.free(blocks[0])
    assert (allocator.statistics()[key], allocator.statistics()["inactive_split.all.current"]) == (16 * MIB, 2)
    allocator.free(blocks[1])
    assert (allocator.statistics()[key], allocator.statistics()["inactive_split.all.current"]) == (0, 0)
    assert allocator.statistics()["inactive_split_bytes.all.peak"] == 16 * MIB


def test_peaks_and_accumulated_counters_are_reset_apart() -> None:
    """test_cuda.py, test_memory_stats: peaks fall to what there is; accumulated counters to 0."""
    allocator = make()
    kept, freed = allocator.allocate(30 * MIB), allocator.allocate(20 * MIB)
    allocator.free(freed)
    allocator.reset_peak()
    counts = allocator.statistics()
    assert {counts[f"{name}.all.peak"] for name in ("allocated_bytes", "active_bytes", "requested_bytes")} == {30 * MIB}
    assert (counts["allocated_bytes.all.allocated"], counts["allocated_bytes.all.freed"]) == (50 * MIB, 20 * MIB)
    allocator.reset_accumulated()
    allocator.free(kept)
    counts = allocator.statistics()
    assert (counts["allocated_bytes.all.allocated"], counts["allocated_bytes.all.freed"]) == (0, 30 * MIB)
    assert (counts["allocated_bytes.all.current"], counts["allocated_bytes.all.peak"]) == (0, 30 * MIB)
    assert (counts["num_device_alloc"], counts["segment.all.allocated"], counts["reserved_bytes.all.current"]) == (0, 0, 50 * MIB)


def test_a_mem_pool_packs_small_blocks_and_returns_them_when_it_is_deleted() -> None:
    """test_cuda.py, test_mempool_with_allocator: one segment for two blocks of 1 MiB, a second for the third; use counts 1, 2, 1."""
    allocator = make()
    allocator.create_pool(POOL)
    assert allocator.pool_use_count(POOL) == 1
    allocator.begin_pool(POOL)
    assert allocator.pool_use_count(POOL) == 2
    blocks, segments = [], []
    for _ in range(3):
        blocks.append(allocator.allocate(MIB))
        segments.append(len(allocator.snapshot(POOL)))
    allocator.end_pool(POOL)
    allocator.release_pool(POOL)
    assert (segments, allocator.pool_use_count(POOL)) == ([1, 1, 2], 1)
    counts = allocator.statistics()
    assert counts["reserved_bytes_by_private_pools.0_1.small_pool.current"] == 4 * MIB
    for block in blocks:
        allocator.free(block)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 4 * MIB  # the pool is in use
    allocator.allocate(MIB)
    assert allocator.reserved_bytes == 6 * MIB
    allocator.release_pool(POOL)
    allocator.empty_cache(POOL)
    assert allocator.reserved_bytes == 2 * MIB
    counts = allocator.statistics()
    assert counts["reserved_bytes_by_private_pools.0_1.all.current"] == 0
    assert counts["reserved_bytes_by_private_pools.0_1.all.peak"] == 4 * MIB


def test_mempool_expandable() -> None:
    """test_cuda.py, test_mempool_expandable: a pool with an allocator of its own has no expandable segments, others do."""
    allocator = make("expandable_segments:True")
    allocator.create_pool(POOL, own_allocator=True)
    allocator.begin_pool(POOL)
    allocator.allocate(MIB)
    allocator.end_pool(POOL)
    allocator.allocate(MIB)
    assert [segment.is_expandable for segment in allocator.snapshot()] == [True, False]


def test_mempool_no_split() -> None:
    """`should_split`: a pool that does not split gives whole segments."""
    allocator = make()
    allocator.create_pool(POOL, no_split=True)
    allocator.begin_pool(POOL)
    assert [allocator.allocate(size).nbytes for size in (512, 3 * MIB)] == [2 * MIB, 20 * MIB]


def test_mempool_limited_memory_with_allocator() -> None:
    """test_cuda.py, test of that name: 1 MiB is taken of what a pool caches when all else is used, if the pool allows."""
    for use_on_oom in (True, False):
        allocator = make()
        allow(allocator, 80 * MIB)
        allocator.create_pool(POOL, use_on_oom=use_on_oom)
        allocator.begin_pool(POOL)
        cached = allocator.allocate(40 * MIB)
        allocator.end_pool(POOL)
        allocator.release_pool(POOL)
        allocator.free(cached)
        allocator.allocate(40 * MIB)
        if use_on_oom:
            assert allocator.allocate(40 * MIB).address == cached.address
        else:
            with pytest.raises(AllocatorOutOfMemoryError, match=r"with 40.00 MiB allocated in private pools \(e.g., CUDA Graphs\)"):
                allocator.allocate(40 * MIB)


def test_the_pool_that_was_begun_last_and_applies_serves() -> None:
    """`get_pool`."""
    allocator = make()
    allocator.begin_pool((0, 1))
    allocator.begin_pool((0, 2), lambda stream: stream == 5)
    owners = [allocator.allocate(512, stream).pool.owner.pool_id for stream in (0, 5)]
    allocator.end_pool((0, 1))
    assert [*owners, allocator.allocate(512).pool.owner.pool_id] == [(0, 1), (0, 2), (0, 0)]
    with pytest.raises(RuntimeError, match="already recording"):
        allocator.begin_pool((0, 2))
    with pytest.raises(RuntimeError, match="not currently recording"):
        allocator.end_pool((0, 1))


@pytest.mark.parametrize(("torch", "capture", "delayed"), [((2, 11), False, True), ((2, 14), False, False), ((2, 14), True, True)])
def test_frees_are_delayed_to_the_end_of_a_capture(torch: tuple[int, int], capture: bool, delayed: bool) -> None:
    """`free`, `insert_events_deferred_until_no_capture`; before 2.13 `use_mem_pool` is taken for a capture."""
    allocator = make(torch=torch)
    allocator.begin_pool(POOL, lambda stream: stream == 9, capture=capture)
    block = allocator.allocate(30 * MIB)
    allocator.record_stream(block, 1)
    allocator.free(block)
    allocator.allocate(512)
    assert (allocator.active_bytes > 30 * MIB) is delayed
    allocator.end_pool(POOL)
    allocator.allocate(30 * MIB)
    assert allocator.reserved_bytes == 32 * MIB


def test_after_a_capture_only_uses_from_before_it_are_waited_for() -> None:
    """`remove_cudagraph_stream_uses`: what the graph did on other streams was over when its capture was."""
    allocator = make(at_once=False)
    before, during = allocator.allocate(30 * MIB), allocator.allocate(40 * MIB)
    allocator.record_stream(before, 1)
    allocator.begin_pool(POOL, lambda stream: stream == 9, capture=True)
    for block in (before, during):
        allocator.record_stream(block, 2)
        allocator.free(block)
    allocator.allocate(512)
    assert allocator.active_bytes == 70 * MIB + 512
    allocator.end_pool(POOL)
    allocator.allocate(512)
    assert allocator.active_bytes == 30 * MIB + 1024
    allocator.complete_uses(1)
    allocator.allocate(512)
    assert allocator.active_bytes == 1536


def test_a_use_in_a_capture_is_noted_until_a_delayed_free() -> None:
    """`block_to_cudagraph_stream_uses`: a free after the capture does not clear it, so that it counts for the block's next user, too."""
    allocator = make(at_once=False)
    block = allocator.allocate(30 * MIB)
    allocator.begin_pool(POOL, lambda stream: stream == 9, capture=True)
    allocator.record_stream(block, 1)
    allocator.end_pool(POOL)
    allocator.free(block)
    allocator.complete_uses()
    block = allocator.allocate(30 * MIB)
    allocator.record_stream(block, 1)
    allocator.begin_pool(OTHER_POOL, lambda stream: stream == 9, capture=True)
    allocator.free(block)
    allocator.end_pool(OTHER_POOL)
    allocator.allocate(512)
    assert allocator.active_bytes == 512


def test_misuse_is_refused() -> None:
    allocator = make()
    block = allocator.allocate(512)
    allocator.free(block)
    with pytest.raises(ValueError, match="not allocated"):
        allocator.free(block)
    with pytest.raises(ValueError, match="at least one byte"):
        allocator.allocate(0)
    with pytest.raises(RuntimeError, match="is not in use"):
        allocator.release_pool(POOL)


def test_pools_tell_what_each_stream_holds() -> None:
    allocator = make()
    freed: Block = allocator.allocate(40 * MIB, stream=4)
    allocator.allocate(30 * MIB, stream=4)
    allocator.allocate(512)
    allocator.free(freed)
    figures = {
        (pool.stream, pool.is_small): (pool.reserved_bytes, pool.allocated_bytes, pool.largest_free_bytes) for pool in allocator.pools()
    }
    assert figures == {(4, False): (70 * MIB, 30 * MIB, 40 * MIB), (0, True): (2 * MIB, 512, 2 * MIB - 512)}


def test_a_segment_as_torch_shows_it() -> None:
    allocator = make(at_once=False)
    first, second = allocator.allocate(700, stream=2), allocator.allocate(600, stream=2)
    allocator.record_stream(second, 0)
    allocator.free(second)
    (segment,) = allocator.snapshot()
    shown = segment.as_torch(1)
    blocks = shown.pop("blocks")
    assert shown == {
        "device": 1,
        "address": first.address,
        "total_size": 2 * MIB,
        "allocated_size": 1024,
        "active_size": 2048,
        "requested_size": 1300,
        "stream": 2,
        "segment_type": "small",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "frames": [],
    }
    assert [(block["size"], block["requested_size"], block["state"]) for block in blocks] == [
        (1024, 700, "active_allocated"),
        (1024, 600, "active_pending_free"),
        (2 * MIB - 2048, 0, "inactive"),
    ]
