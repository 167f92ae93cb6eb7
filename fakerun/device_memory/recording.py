"""RecordingAllocators: the allocators of a rank's devices that keep what they did."""

from collections.abc import Callable, Mapping
from typing import Any

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.history import RecordingAllocator
from fakerun.device_memory.allocators import DeviceAllocators


class RecordingAllocators(DeviceAllocators):
    """`context()` is asked for whom, whenever a block or a segment is allocated; the other arguments are those of `DeviceAllocators`."""

    def __init__(self, *arguments: Any, context: Callable[[], object], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._context = context
        self._recording: dict[int, RecordingAllocator] = {}

    def of(self, device: int) -> CachingAllocator:
        """The allocator of the device with this ordinal."""
        allocator = self._recording.get(device)
        if allocator is None:
            allocator = self._allocators[device] = self._recording[device] = RecordingAllocator(
                self._settings, total_bytes=self._hardware.usable_bytes, capacity_bytes=self._capacity_bytes, context=self._context
            )
        return allocator

    def recording(self) -> Mapping[int, RecordingAllocator]:
        """The allocators of the devices that were used."""
        return self._recording
