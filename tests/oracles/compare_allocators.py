"""Runs random events through the allocator of `fakerun.allocator` and through the linear one, and compares them after each.

python -m tests.oracles.compare_allocators --events 1000000
"""

import argparse
import random
import time
from typing import NamedTuple

from fakerun.allocator import AllocatorOutOfMemoryError, AllocatorSettings, Block, CachingAllocator
from fakerun.allocator.snapshot import BlockRecord
from tests.oracles.linear_allocator import MIB, LinearAllocator, NoMemoryError, Options, Range

TOTAL = 2048 * MIB


class Case(NamedTuple):
    """A text of PYTORCH_ALLOC_CONF, and the same as plain numbers."""

    text: str
    options: Options


CASES = (
    Case("", Options()),
    Case("expandable_segments:True", Options(expandable=True)),
    Case("max_split_size_mb:40", Options(max_split=40 * MIB)),
    Case(
        "large_segment_size_mb:32,max_split_size_mb:48,max_non_split_rounding_mb:64",
        Options(large_segment=32 * MIB, max_split=48 * MIB, max_waste=64 * MIB),
    ),
    Case(
        "roundup_power2_divisions:[4:4,8:1,16:8,>:2]",
        Options(divisions={1: 4, 2: 4, 4: 4, 8: 1, 16: 8} | {1 << power: 2 for power in range(5, 16)}),
    ),
    Case(
        "garbage_collection_threshold:0.5,per_process_memory_fraction:0.25",
        Options(threshold=0.5, fraction=0.25),
    ),
    Case(
        "expandable_segments:True,max_split_size_mb:30,large_segment_size_mb:24,per_process_memory_fraction:0.25",
        Options(expandable=True, max_split=30 * MIB, large_segment=24 * MIB, max_waste=24 * MIB, fraction=0.25),
    ),
)
STATES = {"active_allocated": "used", "active_pending_free": "pending", "inactive": "free"}
POOL = 1


def shown_block(block: BlockRecord) -> tuple[int, int, int, str]:
    """Of a free block torch shows what its last user requested, which says nothing."""
    state = STATES[block.state]
    return block.address, block.nbytes, 0 if state == "free" else block.requested_bytes, state


class Comparison:
    """Both allocators after the same events. An event that they answer differently is an AssertionError."""

    def __init__(self, case: Case, seed: int) -> None:
        self.chance = random.Random(f"{case.text} {seed}")
        at_once = self.chance.random() < 0.5
        capacity = self.chance.choice((300, 600, 1200)) * MIB
        settings = AllocatorSettings.parse(case.text)
        self.fast = CachingAllocator(settings, total_bytes=TOTAL, capacity_bytes=capacity, uses_end_at_once=at_once)
        self.slow = LinearAllocator(case.options, TOTAL, capacity, at_once)
        use_on_oom = self.chance.random() < 0.5
        self.fast.create_pool((0, POOL), use_on_oom=use_on_oom)
        self.slow.create_pool(POOL, use_on_oom)
        self.live: list[tuple[Block, Range]] = []
        self.sizes = [int(2 ** self.chance.uniform(0, 26.5)) for _ in range(40)]
        self.peaks = dict.fromkeys(("allocated", "active", "reserved"), 0)
        self.most_live = self.chance.choice((20, 60, 150))

    def run(self, events: int, snapshot_every: int) -> None:
        for number in range(events):
            actions = (self.allocate, self.free, self.record_stream, self.complete, self.empty, self.switch_pool)
            self.chance.choices(actions, (100, 100 if len(self.live) > self.most_live else 60, 12, 6, 1, 3))[0]()
            self.compare()
            if number % snapshot_every == 0:
                self.compare_all()
        self.compare_all()

    def allocate(self) -> None:
        size = self.chance.choice(self.sizes) if self.chance.random() < 0.7 else int(2 ** self.chance.uniform(0, 26.5))
        stream = self.chance.choice((0, 0, 1, 2))
        try:
            part = self.slow.allocate(size, stream)
        except NoMemoryError:
            self.expect_out_of_memory(size, stream)
            return
        block = self.fast.allocate(size, stream)
        assert (block.address, block.nbytes) == (part.start, part.size)
        self.live.append((block, part))

    def expect_out_of_memory(self, size: int, stream: int) -> None:
        try:
            self.fast.allocate(size, stream)
        except AllocatorOutOfMemoryError:
            for _ in range(len(self.live) // 2):
                self.free()
        else:
            raise AssertionError("only the linear allocator ran out of memory")

    def free(self) -> None:
        if self.live:
            block, part = self.live.pop(self.chance.randrange(len(self.live)))
            self.fast.free(block)
            self.slow.free(part)

    def record_stream(self) -> None:
        if self.live:
            (block, part), stream = self.chance.choice(self.live), self.chance.randrange(4)
            self.fast.record_stream(block, stream)
            self.slow.record_stream(part, stream)

    def complete(self) -> None:
        stream = self.chance.choice((None, 0, 1, 2, 3))
        self.fast.complete_uses(stream)
        self.slow.complete(stream)

    def empty(self) -> None:
        self.fast.empty_cache()
        self.slow.empty_cache()

    def switch_pool(self) -> None:
        if self.slow.current_pool:
            self.fast.end_pool((0, POOL))
            self.fast.release_pool((0, POOL))
            self.slow.leave_pool()
        else:
            self.fast.begin_pool((0, POOL))
            self.slow.enter_pool(POOL)

    def compare(self) -> None:
        held = used = active = 0
        for segment in self.slow.segments:
            for part in segment.ranges:
                held += part.size if part.state != "unmapped" else 0
                used += part.size if part.state == "used" else 0
                active += part.size if part.state in ("used", "pending") else 0
        now = {"allocated": used, "active": active, "reserved": held}
        self.peaks = {name: max(peak, now[name]) for name, peak in self.peaks.items()}
        assert (self.fast.allocated_bytes, self.fast.active_bytes, self.fast.reserved_bytes) == (used, active, held)
        peaks = (self.fast.peak_allocated_bytes, self.fast.peak_active_bytes, self.fast.peak_reserved_bytes)
        assert peaks == tuple(self.peaks.values())

    def compare_all(self) -> None:
        """Every block of every segment, and every counter."""
        shown = [
            (
                *(segment.address, segment.stream, segment.is_large, segment.is_expandable, segment.pool_id[1]),
                tuple(map(shown_block, segment.blocks)),
            )
            for segment in self.fast.snapshot()
        ]
        assert shown == self.slow.rows()
        counts = self.fast.statistics()
        figures = self.slow.figures()
        assert {name: counts[f"{name}.current"] for name in figures} == figures
        numbers = (self.slow.retries, self.slow.ooms, self.slow.synchronizations, self.slow.device_allocs, self.slow.device_frees)
        names = ("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free")
        assert tuple(counts[name] for name in names) == numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="in all")
    parser.add_argument("--events-of-a-program", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin, done, seed, retries, ooms = time.perf_counter(), 0, arguments.seed, 0, 0
    while done < arguments.events:
        for case in CASES:
            comparison = Comparison(case, seed)
            try:
                comparison.run(arguments.events_of_a_program, snapshot_every=10)
            except AssertionError:
                print(f"they differ: {case.text!r}, seed {seed}")
                raise
            done += arguments.events_of_a_program
            retries, ooms = retries + comparison.slow.retries, ooms + comparison.slow.ooms
        seed += 1
    print(f"{done} events, {retries} retries, {ooms} out of memory: equal; {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
