"""What holds of the caching allocator after any events: seeded random programs, checked while they run and at their end."""

import itertools
import random

import pytest

from fakerun.allocator import AllocatorOutOfMemoryError, AllocatorSettings, Block, CachingAllocator
from fakerun.allocator.sizes import MIB

SETTINGS = (
    "",
    "expandable_segments:True",
    "max_split_size_mb:40",
    "roundup_power2_divisions:[1:4,64:8,>:2],large_segment_size_mb:32",
    "garbage_collection_threshold:0.6,per_process_memory_fraction:0.9",
    "expandable_segments:True,max_split_size_mb:64,per_process_memory_fraction:0.9",
)
POOL = (0, 1)


class Program:
    """Allocates, frees and uses blocks at random on four streams of a device that is too small now and then."""

    def __init__(self, settings: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.allocator = CachingAllocator(
            AllocatorSettings.parse(settings), total_bytes=2048 * MIB, capacity_bytes=1536 * MIB, uses_end_at_once=bool(seed % 2)
        )
        self.allocator.create_pool(POOL)
        self.live: list[Block] = []
        self.in_pool = False

    def run(self, events: int) -> None:
        for _ in range(events):
            self.chance.choices(
                (self.allocate, self.free, self.record_stream, self.complete, self.empty, self.switch_pool), (100, 95, 10, 5, 1, 2)
            )[0]()

    def allocate(self) -> None:
        size = int(2 ** self.chance.uniform(0, 27))
        try:
            self.live.append(self.allocator.allocate(size, self.chance.choice((0, 0, 0, 1, 2, 3))))
        except AllocatorOutOfMemoryError:
            for block in self.live:
                self.allocator.free(block)
            self.live.clear()

    def free(self) -> None:
        if self.live:
            self.allocator.free(self.live.pop(self.chance.randrange(len(self.live))))

    def record_stream(self) -> None:
        if self.live:
            self.allocator.record_stream(self.chance.choice(self.live), self.chance.randrange(4))

    def complete(self) -> None:
        self.allocator.complete_uses(self.chance.choice((None, 0, 1, 2, 3)))

    def empty(self) -> None:
        self.allocator.empty_cache()

    def switch_pool(self) -> None:
        if self.in_pool:
            self.allocator.end_pool(POOL)
            self.allocator.release_pool(POOL)
        else:
            self.allocator.begin_pool(POOL)
        self.in_pool = not self.in_pool


def check(program: Program) -> None:
    allocator = program.allocator
    segments = allocator.snapshot()
    counts = allocator.statistics()
    end = 0
    for segment in segments:
        assert segment.address >= end  # no overlap
        end = segment.address
        for block in segment.blocks:
            assert (block.address, block.nbytes > 0, block.nbytes % 512) == (end, True, 0)  # tiles, in whole steps
            end += block.nbytes
        states = [block.state for block in segment.blocks]
        assert ("inactive", "inactive") not in itertools.pairwise(states)
    blocks = [(segment, block) for segment in segments for block in segment.blocks]
    for pool, of_pool in (("all", (True, False)), ("large_pool", (True,)), ("small_pool", (False,))):
        active = [block for segment, block in blocks if segment.is_large in of_pool and block.state != "inactive"]
        allocated = [block for block in active if block.state == "active_allocated"]
        parts = [
            block
            for segment, block in blocks
            if segment.is_large in of_pool and block.state == "inactive" and not segment.is_expandable and len(segment.blocks) > 1
        ]
        expected = {
            "reserved_bytes": sum(segment.nbytes for segment in segments if segment.is_large in of_pool),
            "segment": sum(1 for segment in segments if segment.is_large in of_pool and not segment.is_expandable),
            "allocation": len(allocated),
            "allocated_bytes": sum(block.nbytes for block in allocated),
            "active": len(active),
            "active_bytes": sum(block.nbytes for block in active),
            "requested_bytes": sum(block.requested_bytes for block in active),
            "inactive_split": len(parts),
            "inactive_split_bytes": sum(block.nbytes for block in parts),
        }
        assert {name: counts[f"{name}.{pool}.current"] for name in expected} == expected
        for name in expected:
            kinds = [counts[f"{name}.{pool}.{kind}"] for kind in ("current", "peak", "allocated", "freed")]
            assert kinds[0] == kinds[2] - kinds[3]
            assert kinds[0] <= kinds[1] <= kinds[2]
    assert allocator.reserved_bytes == allocator.device.given_bytes == sum(pool.reserved_bytes for pool in allocator.pools())
    assert allocator.allocated_bytes == sum(pool.allocated_bytes for pool in allocator.pools()) == sum(b.nbytes for b in program.live)
    assert {block.address for block in program.live} == {block.address for _, block in blocks if block.state == "active_allocated"}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("settings", SETTINGS)
def test_blocks_tile_segments_and_counters_are_the_sums_of_blocks(settings: str, seed: int) -> None:
    program = Program(settings, seed)
    for _ in range(20):
        program.run(100)
        check(program)
    if program.in_pool:
        program.switch_pool()
    program.allocator.release_pool(POOL)
    program.allocator.empty_cache()
    check(program)
    free = [segment for segment in program.allocator.snapshot() if all(block.state == "inactive" for block in segment.blocks)]
    assert not [segment for segment in free if not segment.is_expandable]
    # Of expandable segments parts of pages remain beside pages in use.
    assert all(segment.nbytes < 2 * program.allocator.settings.large_segment_bytes for segment in free)
    for block in program.live:
        program.allocator.free(block)
    program.live.clear()
    program.allocator.empty_cache()
    check(program)
    assert (program.allocator.reserved_bytes, program.allocator.snapshot()) == (0, ())
