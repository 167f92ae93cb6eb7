"""PyTorch's caching allocator of device memory ("native" backend): what a device reserves for a stream of allocations. Pure; no torch.

The rules are those of c10/cuda/CUDACachingAllocator.cpp, c10/core/AllocatorConfig.{h,cpp} and c10/cuda/CUDAAllocatorConfig.{h,cpp}; each
module names the functions that its rules come from. What torch 2.11, 2.13 and 2.14.1 do with settings was also observed in their builds,
and what 2.11 does on an H200 recorded (tests/oracles/allocator_events).

1. `settings`: PYTORCH_ALLOC_CONF as `AllocatorSettings`. `sizes`: what a request is rounded up to, and how much a new segment has.
2. `blocks`: blocks that tile segments, and the free ones of each (stream, small or large) pool, in order of size.
3. `segments` and `expandable_segments`: how a pool gets device memory, and gives it back. `device_memory`: how much there is.
4. `caching_allocator`: `CachingAllocator`, one for each device: allocate, free, record_stream, empty_cache, private pools.
5. `pending_frees`: frees that wait for other streams. `private_pools`: `torch.cuda.MemPool` and the pools of CUDA graphs.
   `out_of_memory`: the error when giving back what is cached is not enough.
6. `statistics`: the counters of `torch.cuda.memory_stats`. `snapshot`: the segments and blocks of `torch.cuda.memory_snapshot`.
7. `history`: an allocator that keeps each `action`, as torch does for the memory visualiser.

Not modelled: the backend `cudaMallocAsync`, whose memory pool is the driver's; `graph_capture_record_stream_reuse`, which depends on the
nodes of the captured graph (its default, off, is); and where the driver places segments: addresses ascend in the order of creation. An
address only decides which of two equally large free blocks of different segments is taken.
"""

from fakerun.allocator.blocks import Block
from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.settings import AllocatorSettings

__all__ = ["AllocatorOutOfMemoryError", "AllocatorSettings", "Block", "CachingAllocator"]
