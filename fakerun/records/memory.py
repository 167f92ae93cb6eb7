"""MemoryBlock: what one allocation of device memory is for, how large it is, and where in the program it was made."""

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
    """What an allocation is of: a storage, or one size of a resized storage.

    `requested_bytes` is the storage's size, `nbytes` what the allocator counts for it. `shape` and `dtype` are of the tensor
    that the allocation was made for. `phase`, `module` and `call_site` tell where it was allocated. `device` is an ordinal into
    the rank's `RankRecord.devices`, `stream` a number in `DeviceProgram.streams`.
    """

    nbytes: int
    requested_bytes: int
    category: Category
    phase: Phase
    module: str | None
    call_site: CallSite | None
    shape: tuple[int, ...]
    dtype: str
    device: int
    stream: int = 0
