"""MemoryTimeline: every device storage of one rank from allocation to free, in order. Peak and breakdown derive from it."""

from dataclasses import dataclass
from enum import StrEnum

from fakerun.call_site import CallSite
from fakerun.records.collective import Phase

ALLOCATION_GRANULARITY_BYTES = 512
"""The CUDA caching allocator rounds every request up to this (kMinBlockSize, c10/cuda/CUDACachingAllocator.cpp)."""


def rounded_size_bytes(requested_bytes: int) -> int:
    """What the caching allocator counts as allocated for a request; 0 for an empty storage."""
    return -(-requested_bytes // ALLOCATION_GRANULARITY_BYTES) * ALLOCATION_GRANULARITY_BYTES


class Category(StrEnum):
    """What a block of device memory is for. A block keeps one category: that of the highest priority of all roles that it had.

    `parameter`, `buffer`: persistent storage of a module's parameters (the local shard) and buffers. `gradient`: storage of a
    parameter's `.grad`. `optimizer_state`: held in an optimizer's state. `communication`: buffers of collectives, unsharded
    parameters of FSDP included. `input`: copied from the host, or created from no input, outside modules, backward and optimizer;
    and what the script computes there and passes to a model. `activation`: created in forward with gradients enabled (the loss and
    recomputation included). `temporary`: the rest.
    """

    PARAMETER = "parameter"
    BUFFER = "buffer"
    GRADIENT = "gradient"
    OPTIMIZER_STATE = "optimizer_state"
    ACTIVATION = "activation"
    COMMUNICATION = "communication"
    INPUT = "input"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBlock:
    """One allocation: a storage, or one size of a resized storage.

    `requested_bytes` is the storage's size, `nbytes` what the allocator counts for it. `shape` and `dtype` are of the tensor
    that the allocation was made for. `step`, `phase`, `module` and `call_site` tell where it was allocated. `device` is an ordinal into
    the rank's `RankRecord.devices`.
    """

    nbytes: int
    requested_bytes: int
    category: Category
    step: int
    phase: Phase
    module: str | None
    call_site: CallSite | None
    shape: tuple[int, ...]
    dtype: str
    device: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTimeline:
    """Blocks in order of allocation, and the order in which they came and went.

    `events`: `i >= 0` allocates `blocks[i]`, `~i` (negative) frees it. `step_ends[k]` is the number of events up to the end of
    step k; events after the last entry belong to the unfinished step.
    """

    blocks: tuple[MemoryBlock, ...] = ()
    events: tuple[int, ...] = ()
    step_ends: tuple[int, ...] = ()


def check_timeline(timeline: MemoryTimeline) -> None:
    """Check the numbers of a timeline that was read.

    Raises:
        ValueError: an event refers to a block that is not there, or the end of a step to an event.
    """
    blocks = len(timeline.blocks)
    if timeline.events and not -blocks <= min(timeline.events) <= max(timeline.events) < blocks:
        raise ValueError("a block is freed or allocated that is not there")
    if not all(0 <= end <= len(timeline.events) for end in timeline.step_ends):
        raise ValueError("a step ends at an event that is not there")
