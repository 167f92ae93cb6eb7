"""The caching allocators of the rank's devices while the script runs: what they answer the script, and requests that they refuse.

They are asked what the device program asks, as `analysis` replays it, but only at a question of the script, which lets them catch up: a
script that never asks pays nothing. Where an allocation is to fail if the device has no memory left, they are asked at each request.
"""

import os
import threading
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError, OutOfMemoryFigures, format_size
from fakerun.allocator.settings import AllocatorSettings, TorchVersion
from fakerun.device_memory.allocators import DeviceAllocators, allocator_capacity_bytes
from fakerun.device_memory.recording import RecordingAllocators
from fakerun.device_memory.variables import MEMORY_VARIABLES
from fakerun.errors import as_script_error
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import Instruction
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.memory_pools import MemoryPoolTrace
from fakerun.trace.memory_snapshots import MemorySnapshots
from fakerun.trace.program import EMPTY_CACHE, ProgramTrace
from fakerun.trace.program_follower import ProgramFollower
from fakerun.trace.program_point import ProgramPoint

Observer = Callable[[int, int, int, int], None]


class LiveAllocators:
    """Implements `CachingAllocators` (fakerun.records.observer). With `raises` an allocation that the device has no memory for fails."""

    def __init__(
        self,
        program: ProgramTrace,
        memory: MemoryTrace,
        devices: DeviceOrdinals,
        point: ProgramPoint,
        hardware: Accelerator,
        *,
        raises: bool = False,
    ) -> None:
        self._program = program
        self._memory = memory
        self._devices = devices
        self._hardware = hardware
        self._raises = raises
        self._first_settings: AllocatorSettings | None = None
        self._variables: Mapping[str, str] = {}
        self._settings = AllocatorSettings()
        self._text = ""
        self._follower: ProgramFollower[DeviceAllocators] | None = None
        self._snapshots = MemorySnapshots(program, memory, devices, self._recording)
        self.pools = MemoryPoolTrace(program, point, lambda device, pool: self._allocator(device).has_pool(pool))
        self._fractions: dict[int, float] = {}
        self._observers: list[Observer] = []
        self._lock = threading.RLock()
        devices.first_used.append(self._limit_from_first_use)
        if raises:
            program.requested = self._serve

    # -- settings --------------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        if self._first_settings is not None:
            return
        variables = {name: os.environ[name] for name in MEMORY_VARIABLES if name in os.environ}
        try:
            self._settings = AllocatorSettings.from_environment(variables, _torch_version())
        except ValueError as error:
            raise as_script_error(error) from None
        self._text = variables.get("PYTORCH_CUDA_ALLOC_CONF", variables.get("PYTORCH_ALLOC_CONF", ""))
        self._first_settings, self._variables = self._settings, variables

    @property
    def backend(self) -> str:
        self.begin()
        return self._settings.backend

    def settings(self) -> str:
        self.begin()
        return self._text

    def change_settings(self, text: str) -> None:
        self.begin()
        try:
            self._settings = self._settings.updated(text)
        except ValueError as error:
            raise as_script_error(error) from None
        self._text = text
        self._program.changed_settings(text)

    def memory_fraction(self, device: int) -> float:
        self.begin()
        return self._fractions.get(device, self._settings.per_process_memory_fraction)

    def limit_memory(self, device: int, fraction: float) -> None:
        self._fractions[device] = fraction
        if device in self._devices:
            self._program.limited_memory(device, fraction)

    def _limit_from_first_use(self, device: int) -> None:
        if device in self._fractions:
            self._program.limited_memory(device, self._fractions[device])

    # -- answers ---------------------------------------------------------------------------------------------------------------------

    def statistics(self, device: int) -> Mapping[str, int]:
        return self._allocator(device).statistics()

    def memory_info(self, device: int) -> tuple[int, int]:
        """A device that the rank has not used has no context of it."""
        total = self._hardware.usable_bytes
        given_bytes = self._allocator(device).device.given_bytes
        return max(0, (allocator_capacity_bytes(self._hardware) if device in self._devices else total) - given_bytes), total

    def reset_peak(self, device: int) -> None:
        self._allocator(device).reset_peak()

    def reset_accumulated(self, device: int) -> None:
        self._allocator(device).reset_accumulated()

    def record_history(self, most_entries: int | None, *, clear: bool) -> None:
        self._snapshots.record(most_entries, clear=clear)

    def observe_out_of_memory(self, observer: Observer) -> None:
        self._observers.append(observer)

    def snapshot(self) -> dict[str, Any]:
        return {**self._segments_and_traces(), "allocator_settings": self._settings.as_torch() | {"PYTORCH_CUDA_ALLOC_CONF": self._text}}

    def _segments_and_traces(self) -> dict[str, Any]:
        if self._snapshots.has_history:
            return self._snapshots.with_history()
        allocators = self._caught_up()
        held = ((device, allocators.of(ordinal).snapshot()) for device, ordinal in self._devices.items())
        segments = chain.from_iterable(self._snapshots.segments(device, records, {}, {}) for device, records in held)
        return {"segments": list(segments), "device_traces": []}

    def _allocator(self, device: int) -> CachingAllocator:
        """The allocator of the device with this CUDA index, up to date. To ask for one does not use the device."""
        allocators = self._caught_up()
        ordinal = self._devices.get(device)
        return CachingAllocator(self._settings, total_bytes=self._hardware.usable_bytes) if ordinal is None else allocators.of(ordinal)

    # -- the program -----------------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Ask for what the program asked last.

        Raises:
            torch.OutOfMemoryError: the device does not have it. The request is no part of the program then; the allocator gave back all
                that it cached.
        """
        try:
            self._caught_up()
        except AllocatorOutOfMemoryError as error:
            assert self._follower is not None
            position = self._follower.position - 1
            device = self._device_of(self._program.sequence[position])
            self._program.sequence[position] = EMPTY_CACHE
            refused = self._refused(error, device)
        else:
            return
        raise refused

    def _refused(self, error: AllocatorOutOfMemoryError, device: int) -> torch.OutOfMemoryError:
        figures = error.figures
        if figures is None:
            return as_script_error(torch.OutOfMemoryError(error.message(device)))
        for observer in self._observers:
            observer(device, figures.requested_bytes, figures.total_bytes, figures.free_bytes)
        return as_script_error(torch.OutOfMemoryError(error.message(device, _users(figures))))

    def _device_of(self, item: int | Instruction) -> int:
        """The CUDA index of the device that an entry of the program asks for memory."""
        if isinstance(item, int):
            return self._memory.blocks[item].cuda_index
        return list(self._devices)[self._program.streams[item.stream].device]

    def _caught_up(self) -> DeviceAllocators:
        """The allocators, asked all that the program has asked until now.

        Raises:
            AllocatorOutOfMemoryError: a device has no memory left for the last entry that was asked.
        """
        with self._lock:
            if self._follower is None:
                self._follower = ProgramFollower(DeviceAllocators(**self._arguments()), self._program, self._memory, self._devices)
            self._follower.follow()
            return self._follower.allocators

    def _recording(self, context: Callable[[], object]) -> RecordingAllocators:
        return RecordingAllocators(**self._arguments(), context=context)

    def _arguments(self) -> dict[str, Any]:
        """For new allocators that are to be asked all of the program."""
        self.begin()
        return {
            "settings": self._first_settings,
            "hardware": self._hardware,
            "operations": self._program.operations,
            "streams": self._program.streams,
            "settings_changes": self._program.settings,
            "pool_kinds": self._program.pools,
            "variables": self._variables,
            "capacity_bytes": allocator_capacity_bytes(self._hardware) if self._raises else None,
        }


def _users(figures: OutOfMemoryFigures) -> str:
    """Who uses the device, as torch learns it of NVML: this process alone."""
    return f"Including non-PyTorch memory, this process has {format_size(figures.total_bytes - figures.free_bytes)} memory in use. "


def _torch_version() -> TorchVersion:
    major, minor, *_ = torch.__version__.split(".")
    return int(major), int(minor)
