"""DeviceNeed: what one rank needs of one device."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fakerun.analysis.memory.allocator_settings import allocator_settings
from fakerun.analysis.memory.footprint import MemoryFootprint, footprints_by_device
from fakerun.analysis.memory.kept_blocks import kept_by_each_step
from fakerun.analysis.memory.outside import OutsideMemory, outside_memory
from fakerun.analysis.memory.reserved import ReservedMemory, reserved_memory, runs_out
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.device_memory.kernels.gaps import NotIncluded, not_included
from fakerun.hardware.accelerator import Accelerator
from fakerun.job.spec import JobSpec
from fakerun.records.run import RankRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNeed:
    """What a rank allocates on a device, what its allocator reserves there, and what its process holds beside that.

    `runs_out` is whether the allocator fails on this device, with the least `outside` it and having given back all that it caches; false
    where that was not tried, because what it reserves is within what the device has.
    """

    footprint: MemoryFootprint = field(default_factory=MemoryFootprint)
    reserved: ReservedMemory = field(default_factory=ReservedMemory)
    outside: tuple[OutsideMemory, ...] = ()
    not_included: tuple[NotIncluded, ...] = ()
    """What kernels of the rank request and `reserved` has not."""
    kept_bytes: int = 0
    """What each step adds to what is allocated; 0 where the last step could be repeated instead, which tells more."""
    runs_out: bool = False
    settings: str = ""
    """Those of the allocator that are not the defaults, as text."""

    @property
    def outside_low_bytes(self) -> int:
        return sum(each.low_bytes for each in self.outside)

    @property
    def outside_high_bytes(self) -> int:
        return sum(each.high_bytes for each in self.outside)

    @property
    def not_included_bytes(self) -> int:
        """The most that is known of what is not included: of kernels that run one after the other, the largest of each kind."""
        return sum(each.most_bytes or 0 for each in self.not_included)

    @property
    def growth_bytes(self) -> int:
        """How much more one more step needs."""
        return max(self.reserved.growth_bytes, self.kept_bytes)

    def left_bytes(self, hardware: Accelerator) -> int:
        """What the device can give the allocator, beside the least that is outside it."""
        return max(hardware.usable_bytes - self.outside_low_bytes, 0)


def device_needs(job: JobSpec, record: RankRecord) -> Mapping[int, DeviceNeed]:
    """What a rank needs of each device that it used, by the device's ordinal."""
    program, hardware = record.program, job.hardware
    settings = allocator_settings(job, record)
    reserved = reserved_memory(program, settings, hardware, variables=record.memory_variables)
    found: dict[int, DeviceNeed] = {}
    outside = outside_memory(record, hardware, ranks_per_node=job.nproc_per_node)
    gaps = not_included(program.operations)
    was_repeated = any(each.has_settled is not None for each in reserved.values())
    kept = {} if was_repeated else kept_by_each_step(program)
    for device, footprint in footprints_by_device(timeline_of(program)).items():
        need = DeviceNeed(
            footprint=footprint,
            reserved=reserved.get(device, ReservedMemory()),
            outside=tuple(each for each in outside if each.device == device),
            not_included=gaps,
            kept_bytes=kept.get(device, 0),
            settings=settings.text,
        )
        left_bytes = need.left_bytes(hardware)
        if need.reserved.peak_bytes > left_bytes:
            need = replace(need, runs_out=runs_out(program, settings, hardware, left_bytes, record.memory_variables))
        found[device] = need
    return found
