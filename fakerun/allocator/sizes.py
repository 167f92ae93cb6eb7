"""What the allocator rounds a request up to, and how much it asks the device for when no cached block serves it. All sizes in bytes.

Constants: c10/core/AllocatorConfig.h of torch 2.11 to 2.14 (kMinBlockSize, kSmallSize, kSmallBuffer, kMinLargeAlloc, kRoundLarge).
"""

MIB = 1024**2

MIN_BLOCK_BYTES = 512
"""Every request is rounded up to a multiple of it."""
LARGEST_SMALL_BYTES = MIB
"""Requests up to it are served by the small pool."""
SMALL_SEGMENT_BYTES = 2 * MIB
"""A segment of the small pool, or a page of an expandable one."""
SMALLEST_OWN_SEGMENT_BYTES = 10 * MIB
"""From here on a large request that no cached block serves gets a segment of its own."""
LARGE_ROUNDING_BYTES = 2 * MIB
"""What a segment of its own is rounded up to."""

DIVISION_INTERVALS = 16
"""`roundup_power2_divisions` tells powers of two from 1 MiB to 32 GiB apart (kRoundUpPowerOfTwoIntervals, AllocatorConfig.cpp)."""
_LOG2_OF_FIRST_INTERVAL = 20


def rounded_bytes(requested_bytes: int, divisions: tuple[int, ...] | None = None) -> int:
    """What a request of at least one byte is rounded up to (`round_size`, CUDACachingAllocator.cpp).

    `divisions[k]` is into how many equal steps sizes from `2**k` MiB to twice that are divided, or 0 or 1; smaller sizes belong to the
    first interval, larger ones to the last.
    """
    if divisions is not None and requested_bytes >= MIN_BLOCK_BYTES:
        interval = requested_bytes.bit_length() - 1 - _LOG2_OF_FIRST_INTERVAL
        steps = divisions[min(max(interval, 0), DIVISION_INTERVALS - 1)]
        if steps > 1 and requested_bytes > MIN_BLOCK_BYTES * steps:
            return _rounded_to_step(requested_bytes, steps)
    return (requested_bytes + MIN_BLOCK_BYTES - 1) & -MIN_BLOCK_BYTES


def _rounded_to_step(size_bytes: int, steps: int) -> int:
    """Up to the next of `steps` equal steps between two powers of two (`roundup_power2_next_division`)."""
    log2 = size_bytes.bit_length() - 1
    if size_bytes == 1 << log2:
        return size_bytes
    step = (1 << log2) >> (steps.bit_length() - 1)
    return -(-size_bytes // step) * step


def new_segment_bytes(size_bytes: int, large_segment_bytes: int) -> int:
    """The size of the segment that a rounded request makes the allocator ask for (`get_allocation_size`)."""
    if size_bytes <= LARGEST_SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if size_bytes < SMALLEST_OWN_SEGMENT_BYTES:
        return large_segment_bytes
    return -(-size_bytes // LARGE_ROUNDING_BYTES) * LARGE_ROUNDING_BYTES
