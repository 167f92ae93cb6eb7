"""The memory functions of `torch.cuda`, answered from the simulated allocator.

Reserved memory is not simulated: it is answered with what is allocated, which is its lower bound.
"""

from collections import OrderedDict
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import MEMORY_HISTORY
from fakerun.torch_private import CUDA_DUMP_SNAPSHOT, CUDA_RECORD_HISTORY, CUDA_SET_ALLOCATOR, CUDA_SNAPSHOT

_POOLS = ("all", "large_pool", "small_pool")
_FIGURES = ("current", "peak", "allocated", "freed")


def memory_functions(context: EmulationContext) -> dict[str, Any]:
    """The functions by name, as `torch.cuda` and `torch.cuda.memory` hold them."""
    devices, hardware, statistics, findings = context.devices, context.job.hardware, context.statistics, context.findings

    def allocated(device: Any = None) -> int:
        return statistics.allocated_bytes(devices.index(device))

    def peak(device: Any = None) -> int:
        return statistics.peak_allocated_bytes(devices.index(device))

    def reset_peak(device: Any = None) -> None:
        statistics.reset_peak(devices.index(device))

    def stats(device: Any = None) -> OrderedDict[str, Any]:
        return _stats(allocated(device), peak(device))

    def info(device: Any = None) -> tuple[int, int]:
        return hardware.usable_bytes - allocated(device), hardware.usable_bytes

    def segments(*args: Any, **kwargs: Any) -> list[Any]:
        MEMORY_HISTORY.report(findings, "torch.cuda.memory_snapshot")
        return []

    return {
        "memory_allocated": allocated,
        "max_memory_allocated": peak,
        "memory_reserved": allocated,
        "max_memory_reserved": peak,
        "memory_cached": allocated,
        "max_memory_cached": peak,
        "reset_peak_memory_stats": reset_peak,
        "reset_max_memory_allocated": reset_peak,
        "reset_max_memory_cached": reset_peak,
        "reset_accumulated_memory_stats": lambda device=None: None,
        "memory_stats": stats,
        "mem_get_info": info,
        "empty_cache": context.execution.emptied_cache,
        "set_per_process_memory_fraction": lambda fraction, device=None: None,
        "get_per_process_memory_fraction": lambda device=None: 1.0,
        "get_allocator_backend": lambda: "native",
        "memory_snapshot": segments,
        "host_memory_stats": OrderedDict,
        "reset_accumulated_host_memory_stats": lambda: None,
        "reset_peak_host_memory_stats": lambda: None,
        "caching_allocator_enable": lambda value=True: None,
    }


def memory_history(context: EmulationContext) -> dict[str, Any]:
    """The functions for the history of the allocator and for its settings, which `torch.cuda.memory` alone holds."""

    def snapshot(*args: Any, **kwargs: Any) -> dict[str, Any]:
        MEMORY_HISTORY.report(context.findings, "torch.cuda.memory_snapshot")
        return {
            "segments": [],
            "device_traces": [[] for _ in range(context.devices.count)],
            "allocator_settings": {},
            "external_annotations": [],
        }

    return {
        CUDA_RECORD_HISTORY: lambda *args, **kwargs: None,
        CUDA_SNAPSHOT: snapshot,
        CUDA_DUMP_SNAPSHOT: lambda *args, **kwargs: MEMORY_HISTORY.report(context.findings, "torch.cuda.memory._dump_snapshot"),
        CUDA_SET_ALLOCATOR: lambda settings: None,
    }


def _stats(allocated_bytes: int, peak_bytes: int) -> "OrderedDict[str, Any]":
    """`torch.cuda.memory_stats()` with torch's keys; counts of blocks and segments are not simulated and are 0."""
    stats: OrderedDict[str, Any] = OrderedDict()
    for kind in ("active_bytes", "allocated_bytes", "requested_bytes", "reserved_bytes"):
        for pool in _POOLS:
            counted = pool != "small_pool"
            stats[f"{kind}.{pool}.current"] = allocated_bytes * counted
            stats[f"{kind}.{pool}.peak"] = peak_bytes * counted
            stats[f"{kind}.{pool}.allocated"] = peak_bytes * counted
            stats[f"{kind}.{pool}.freed"] = (peak_bytes - allocated_bytes) * counted
    for kind in ("allocation", "segment", "active", "inactive_split", "inactive_split_bytes"):
        stats.update((f"{kind}.{pool}.{figure}", 0) for pool in _POOLS for figure in _FIGURES)
    for kind in ("oversize_allocations", "oversize_segments"):
        stats.update((f"{kind}.{figure}", 0) for figure in _FIGURES)
    for key in ("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free", "max_split_size"):
        stats[key] = 0
    return OrderedDict(sorted(stats.items()))


class MemoryPool:
    """Replaces `torch.cuda.MemPool`: the pool that memory comes from does not change how much there is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.id = (0, 0)

    def use_count(self) -> int:
        return 1

    def snapshot(self, *args: Any, **kwargs: Any) -> list[Any]:
        return []
