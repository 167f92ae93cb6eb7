"""The allocator asked what torch's was asked on GPUs: the same segments at the same requests, each block at the same address."""

from collections.abc import Iterable

import pytest

from fakerun.allocator.blocks import Block
from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.settings import AllocatorSettings
from tests.oracles.memory_snapshots.recorded import (
    ALLOCATE,
    FREE,
    NEW_SEGMENT,
    RELEASE,
    History,
    RecordedBlock,
    RecordedSegment,
    names,
    read,
)

SMALL, LARGE = 1, 2 * 1024**2


class Replayed:
    """An allocator that begins in a recorded state. New segments come at the addresses that the GPU gave."""

    def __init__(self, segments: Iterable[RecordedSegment]) -> None:
        self.allocator = CachingAllocator(AllocatorSettings(), total_bytes=80 * 1024**3)
        self.allocator.device.reserve_addresses = self._take_address  # type: ignore[method-assign]
        self.new_segments: list[tuple[int, int]] = []
        self.blocks: dict[int, Block] = {}
        for segment in segments:
            self._insert(segment)

    def _take_address(self, nbytes: int) -> int:
        expected, address = self.new_segments.pop(0)
        assert nbytes == expected
        return address

    def _insert(self, segment: RecordedSegment) -> None:
        """Take a segment whole, then cut off its blocks and the free ranges between them, and free these."""
        self.new_segments.append((segment.nbytes, segment.address))
        allocator = self.allocator
        pool = allocator._pools.default.pool_for(SMALL if segment.is_small else LARGE, 0)
        rest = allocator._segments.obtain(pool, segment.nbytes, segment.nbytes, expandable=False)
        assert rest is not None
        end = segment.address + segment.nbytes
        for block in segment.blocks:
            if block.address > rest.address:
                rest = self._cut(rest, block.address - rest.address, None)
            if block.address + block.nbytes < end:
                rest = self._cut(rest, block.nbytes, block)
            else:
                self._keep(rest, block)
                return
        pool.insert(rest)

    def _cut(self, rest: Block, nbytes: int, allocated: RecordedBlock | None) -> Block:
        """Split off the front, allocated or free."""
        front = Block(rest.address, nbytes, rest.pool)
        front.put_before(rest)
        rest.address += nbytes
        rest.nbytes -= nbytes
        if allocated is None:
            rest.pool.insert(front)
        else:
            self._keep(front, allocated)
        return rest

    def _keep(self, block: Block, recorded: RecordedBlock) -> None:
        block.allocated = True
        block.requested_bytes = recorded.requested_bytes
        self.allocator._active.add(block)
        self.blocks[block.address] = block

    def segments(self) -> set[tuple[int, int]]:
        return {(segment.address, segment.nbytes) for segment in self.allocator.snapshot()}

    def release(self, addresses: tuple[int, ...]) -> None:
        """`torch.cuda.empty_cache`, which gave these segments back."""
        before = self.segments()
        self.allocator.empty_cache()
        assert {address for address, _ in before - self.segments()} == set(addresses)

    def allocate(self, requested_bytes: int, address: int) -> None:
        block = self.allocator.allocate(requested_bytes)
        assert (block.address, self.new_segments) == (address, [])
        self.blocks[address] = block


def replay(history: History) -> Replayed:
    replayed = Replayed(history.before)
    for kind, *values in history.events:
        if kind == ALLOCATE:
            replayed.allocate(*values)
        elif kind == FREE:
            replayed.allocator.free(replayed.blocks.pop(values[0]))
        elif kind == NEW_SEGMENT:
            replayed.new_segments.append((values[0], values[1]))
        elif kind == RELEASE:
            replayed.release(tuple(values))
    return replayed


@pytest.mark.parametrize("name", names())
def test_a_gpu_put_each_block_where_the_allocator_puts_it(name: str) -> None:
    history = read(name)
    assert sum(kind == ALLOCATE for kind, *_ in history.events)
    replayed = replay(history)
    found = tuple(
        RecordedSegment(
            address=segment.address,
            nbytes=segment.nbytes,
            is_small=not segment.is_large,
            blocks=tuple(
                RecordedBlock(address=block.address, nbytes=block.nbytes, requested_bytes=block.requested_bytes)
                for block in segment.blocks
                if block.state != "inactive"
            ),
        )
        for segment in replayed.allocator.snapshot()
    )
    assert found == history.after


def test_the_histories_are_of_use() -> None:
    """Programs that train, mixed precision, a cache that is emptied, and one that begins with nothing."""
    histories = [read(name) for name in names()]
    kinds = {kind for history in histories for kind, *_ in history.events}
    assert kinds == {ALLOCATE, FREE, NEW_SEGMENT, RELEASE}
    assert sum(len(history.events) for history in histories) > 40_000
    assert any(not history.before for history in histories)
    assert all("github.com/" in history.source for history in histories)
