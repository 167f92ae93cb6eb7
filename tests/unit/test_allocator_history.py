"""What a recording allocator keeps: torch's actions, in its order, for whom; and that its segments follow from them."""

import random

import pytest

from fakerun.allocator import AllocatorOutOfMemoryError, AllocatorSettings, Block
from fakerun.allocator.action import Action
from fakerun.allocator.history import HistoryEntry, RecordingAllocator
from fakerun.allocator.sizes import MIB

TOTAL = 80 * 1024 * MIB


class Asking:
    """An allocator, and who asks it."""

    def __init__(self, text: str = "", *, capacity: int | None = None) -> None:
        self.who: object = None
        settings = AllocatorSettings.parse(text)
        self.allocator = RecordingAllocator(settings, total_bytes=TOTAL, capacity_bytes=capacity, context=lambda: self.who)

    def allocate(self, who: object, nbytes: int, stream: int = 0) -> Block:
        self.who = who
        return self.allocator.allocate(nbytes, stream)

    def told(self) -> list[tuple[str, int, object]]:
        """Action, MiB, for whom."""
        return [(entry.action, entry.nbytes // MIB, entry.context) for entry in self.allocator.history]


def test_a_segment_comes_before_its_block_and_a_free_is_of_who_allocated() -> None:
    asking = Asking()
    first = asking.allocate("first", 30 * MIB)
    second = asking.allocate("second", 30 * MIB)
    asking.allocator.free(first)
    asking.allocate("third", 30 * MIB)
    assert asking.told() == [
        ("segment_alloc", 30, "first"),
        ("alloc", 30, "first"),
        ("segment_alloc", 30, "second"),
        ("alloc", 30, "second"),
        ("free_requested", 30, "first"),
        ("free_completed", 30, "first"),
        ("alloc", 30, "third"),
    ]
    assert asking.allocator.contexts() == {first.address: "third", second.address: "second"}


def test_a_free_completes_when_other_streams_are_through() -> None:
    asking = Asking()
    block = asking.allocate("used elsewhere", 30 * MIB)
    asking.allocator.record_stream(block, 1)
    asking.allocator.free(block)
    assert [entry.action for entry in asking.allocator.history[-2:]] == [Action.ALLOC, Action.FREE_REQUESTED]
    assert block.address in asking.allocator.contexts()
    asking.allocate("next", 30 * MIB)
    assert [entry.action for entry in asking.allocator.history[-2:]] == [Action.FREE_COMPLETED, Action.ALLOC]


def test_requested_bytes_are_those_that_were_asked_for() -> None:
    asking = Asking()
    asking.allocator.free(asking.allocate("odd", 5))
    assert [(entry.nbytes, entry.requested_bytes) for entry in asking.allocator.history] == [(2 * MIB, 2 * MIB), *[(512, 5)] * 3]


def test_pages_are_mapped_and_unmapped() -> None:
    asking = Asking("expandable_segments:True")
    block = asking.allocate("grows", 30 * MIB)
    asking.allocate("grows on", 30 * MIB)
    asking.allocator.free(block)
    asking.allocator.empty_cache()
    changes = [each for each in asking.told() if each[0].startswith("segment")]
    assert changes == [("segment_map", 40, "grows"), ("segment_map", 20, "grows on"), ("segment_unmap", 20, "grows")]


def test_a_request_that_is_not_served_is_kept_with_what_was_free() -> None:
    asking = Asking(capacity=100 * MIB)
    asking.allocate("fits", 64 * MIB)
    with pytest.raises(AllocatorOutOfMemoryError):
        asking.allocate("does not", 64 * MIB - 5)
    last = asking.allocator.history[-1]
    assert (last.action, last.address, last.nbytes, last.context) == (Action.OUT_OF_MEMORY, 36 * MIB, 64 * MIB, "does not")
    assert last.as_torch() == {"action": "oom", "device_free": 36 * MIB, "size": 64 * MIB, "stream": 0}


@pytest.mark.parametrize("text", ["", "expandable_segments:True", "max_split_size_mb:32"])
def test_segments_and_blocks_follow_from_the_history(text: str) -> None:
    chosen = random.Random(0)
    asking = Asking(text)
    held: list[Block] = []
    for number in range(2000):
        if held and chosen.random() < 0.5:
            block = held.pop(chosen.randrange(len(held)))
            if chosen.random() < 0.2:
                asking.allocator.record_stream(block, 2)
            asking.allocator.free(block)
        else:
            held.append(asking.allocate(number, chosen.choice([1, 700, MIB, 3 * MIB, 11 * MIB, 70 * MIB]), chosen.randrange(2)))
        if number % 500 == 250:
            asking.allocator.empty_cache()
    segments, blocks = _followed(asking.allocator.history)
    found = asking.allocator.snapshot()
    assert _joined(segments) == _joined({segment.address: segment.nbytes for segment in found})
    assert blocks == {
        block.address: (block.nbytes, block.requested_bytes, block.state)
        for segment in found
        for block in segment.blocks
        if block.state != "inactive"
    }
    assert asking.allocator.contexts().keys() == blocks.keys()


def _followed(history: list[HistoryEntry]) -> tuple[dict[int, int], dict[int, tuple[int, int, str]]]:
    """The segments, or their parts of 1 MiB, by address; and the blocks that are not free."""
    parts: dict[int, int] = {}
    blocks: dict[int, tuple[int, int, str]] = {}
    for entry in history:
        reach = range(entry.address, entry.address + entry.nbytes, MIB)
        match entry.action:
            case Action.SEGMENT_ALLOC | Action.SEGMENT_MAP:
                assert parts.keys().isdisjoint(reach)
                parts |= dict.fromkeys(reach, MIB)
            case Action.SEGMENT_FREE | Action.SEGMENT_UNMAP:
                for address in reach:
                    del parts[address]
            case Action.ALLOC:
                assert entry.address not in blocks
                blocks[entry.address] = entry.nbytes, entry.requested_bytes, "active_allocated"
            case Action.FREE_REQUESTED:
                blocks[entry.address] = (*blocks[entry.address][:2], "active_pending_free")
            case Action.FREE_COMPLETED:
                assert blocks.pop(entry.address) == (entry.nbytes, entry.requested_bytes, "active_pending_free")
    return parts, blocks


def _joined(parts: dict[int, int]) -> list[tuple[int, int]]:
    """Ranges of addresses, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for address in sorted(parts):
        if ranges and ranges[-1][1] == address:
            ranges[-1] = ranges[-1][0], address + parts[address]
        else:
            ranges.append((address, address + parts[address]))
    return ranges
