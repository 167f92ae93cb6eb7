"""Action: what an allocator does to a block or a segment."""

from collections.abc import Callable
from enum import StrEnum

from fakerun.allocator.blocks import BlockPool


class Action(StrEnum):
    """By torch's names (`TraceEntry::Action`, c10/cuda/CUDACachingAllocator.h)."""

    ALLOC = "alloc"
    FREE_REQUESTED = "free_requested"
    """The program frees a block; other streams may still use it."""
    FREE_COMPLETED = "free_completed"
    """A freed block is cached."""
    SEGMENT_ALLOC = "segment_alloc"
    SEGMENT_FREE = "segment_free"
    SEGMENT_MAP = "segment_map"
    SEGMENT_UNMAP = "segment_unmap"
    OUT_OF_MEMORY = "oom"


SegmentWatcher = Callable[[Action, BlockPool, int, int], None]
"""Is told what happens to which pool's segment: the address and the bytes that come or go."""
