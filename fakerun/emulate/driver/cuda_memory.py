"""The caching allocator of `torch.cuda`, answered by the simulated one.

The functions of C++ below torch's own Python code are replaced, so that this code (`torch.cuda.memory_summary`, names that are deprecated,
the refusal of wrong arguments) runs as it is.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import HOST_STATISTICS
from fakerun.errors import as_script_error
from fakerun.torch_private import AllocatorFunction

_BY_PRIVATE_POOL = "reserved_bytes_by_private_pools"

_ORDER = (
    *("num_alloc_retries", "num_ooms", "max_split_size", "num_sync_all_streams", "num_device_alloc", "num_device_free"),
    *("allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes"),
    *("requested_bytes", "oversize_allocations", "oversize_segments"),
    *("all", "small_pool", "large_pool"),
    *("current", "peak", "allocated", "freed"),
)
"""Keys of `torch.cuda.memory_stats_as_nested_dict` as torch 2.11 answered on an H100; those of later versions come after them."""

_HOST_COUNTERS = ("allocations", "active_requests", "active_bytes", "allocated_bytes")
_HOST_TIMES = ("host_alloc_time", "host_free_time")
_HOST_NUMBERS = ("num_host_alloc", "num_host_free")


class CudaMemory:
    """What C++ answers of the caching allocators. Devices are CUDA indices."""

    def __init__(self, context: EmulationContext) -> None:
        self._devices = context.devices
        self._allocators = context.allocators
        self._emptied = context.execution.emptied_cache
        self._findings = context.findings
        self._labels = threading.local()

    def functions(self) -> dict[AllocatorFunction, Callable[..., Any]]:
        """The functions by name."""
        allocators, function = self._allocators, AllocatorFunction
        return {
            function.STATISTICS: lambda device: _nested(allocators.statistics(self._checked(device))),
            function.RESET_PEAK: lambda device: allocators.reset_peak(self._checked(device)),
            function.RESET_ACCUMULATED: lambda device: allocators.reset_accumulated(self._checked(device)),
            function.EMPTY_CACHE: lambda *pool: self._emptied(),
            function.SET_FRACTION: lambda fraction, device: allocators.limit_memory(self._checked(device), fraction),
            function.GET_FRACTION: lambda device: allocators.memory_fraction(self._checked(device)),
            function.SET_SETTINGS: allocators.change_settings,
            function.GET_SETTINGS: allocators.settings,
            function.BACKEND: lambda: allocators.backend,
            function.SNAPSHOT: self._snapshot,
            function.RECORD_HISTORY: self._record_history,
            function.RECORD_HISTORY_LEGACY: self._record_history_of_old,
            function.OBSERVE_OUT_OF_MEMORY: allocators.observe_out_of_memory,
            function.TRACEBACK: lambda address: None,
            function.ANNOTATE: lambda address, label: None,
            function.LABELS_SUPPORTED: lambda: True,
            function.SET_LABEL: lambda label: setattr(self._labels, "text", label),
            function.GET_LABEL: lambda: getattr(self._labels, "text", ""),
            function.ENABLE: lambda value: None,
            function.IS_ENABLED: lambda: True,
            function.HOST_STATISTICS: self._host_statistics,
            function.RESET_HOST_PEAK: lambda: None,
            function.RESET_HOST_ACCUMULATED: lambda: None,
        }

    def memory_info(self, device: Any = None) -> tuple[int, int]:
        """`torch.cuda.cudart().cudaMemGetInfo`."""
        return self._allocators.memory_info(self._devices.index(device))

    def _checked(self, device: int) -> int:
        """The device, if it has an allocator (`assertValidDevice`, c10/cuda/CUDACachingAllocator.cpp)."""
        if not self._devices.initialized or not 0 <= device < self._devices.count:
            raise as_script_error(RuntimeError(f"Invalid device argument {device}: did you call init?"))
        return device

    def _host_statistics(self) -> dict[str, Any]:
        """Of page-locked memory: its keys are those of torch 2.11."""
        HOST_STATISTICS.report(self._findings)
        counters = {name: dict.fromkeys(("current", "peak", "allocated", "freed"), 0) for name in _HOST_COUNTERS}
        times = {name: dict.fromkeys(("total", "max", "min", "count", "avg"), 0) for name in _HOST_TIMES}
        return {**dict.fromkeys(_HOST_NUMBERS, 0), **counters, **times}

    def _snapshot(self, pool: tuple[int, int, bool] | None = None) -> dict[str, Any]:
        """Of all pools, or only of a private one; `pool` begins with its identity."""
        snapshot = self._allocators.snapshot()
        if pool is not None and pool[:2] != (0, 0):
            snapshot["segments"] = [segment for segment in snapshot["segments"] if segment["segment_pool_id"] == pool[:2]]
        traces = snapshot["device_traces"] if pool is None or pool[2] else []
        others: list[Any] = [[] for _ in range(len(traces), self._devices.count)]
        return {**snapshot, "device_traces": [*traces, *others], "external_annotations": []}

    def _record_history(
        self, enabled: str | None, context: str | None, stacks: str, max_entries: int, clear_history: bool = False, *args: Any
    ) -> None:
        """With `state` the history is one entry long (`_record_memory_history`, torch/csrc/cuda/memory_snapshot.cpp)."""
        for what, value, known in (
            ("state to be 'state', 'all', or None", enabled, ("state", "all", None)),
            ("context to be 'state', 'alloc', 'all', or None", context, ("state", "alloc", "all", None)),
            ("stacks to be 'python', or 'all'", stacks, ("python", "all")),
        ):
            if value not in known:
                raise as_script_error(RuntimeError(f"expected {what}"))
        most_entries = None if enabled is None else max_entries if enabled == "all" else 1
        self._allocators.record_history(most_entries, clear=clear_history)

    def _record_history_of_old(self, enabled: bool, record_context: bool = True, max_entries: int = 1, *args: Any) -> None:
        self._allocators.record_history(max_entries if enabled else None, clear=False)


def _nested(statistics: Mapping[str, int]) -> dict[str, Any]:
    """As C++ returns them: dictionaries in dictionaries, in which the identity of a private pool is a tuple."""
    place = {key: number for number, key in enumerate(_ORDER)}
    last_place = len(_ORDER)
    result: dict[str, Any] = {}
    for name, value in sorted(statistics.items(), key=lambda item: [place.get(part, last_place) for part in item[0].split(".")]):
        *parts, last = name.split(".")
        inner = result
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    if (by_pool := result.get(_BY_PRIVATE_POOL)) is not None:
        result[_BY_PRIVATE_POOL] = {tuple(map(int, pool.split("_"))): counters for pool, counters in by_pool.items()}
    return result
