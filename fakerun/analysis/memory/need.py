"""DeviceNeed: what one rank needs of one device, and how the caching allocator is set that it needs it for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fakerun.allocator.settings import LATEST, AllocatorSettings, TorchVersion
from fakerun.analysis.memory.footprint import MemoryFootprint, footprints_by_device
from fakerun.analysis.memory.outside import OutsideMemory, outside_memory
from fakerun.analysis.memory.reserved import ReservedMemory, reserved_memory, runs_out
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.job.spec import JobSpec
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
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
    runs_out: bool = False
    settings: str = ""
    """Those of the allocator that are not the defaults, as text."""

    @property
    def outside_low_bytes(self) -> int:
        return sum(each.low_bytes for each in self.outside)

    @property
    def outside_high_bytes(self) -> int:
        return sum(each.high_bytes for each in self.outside)


def device_needs(job: JobSpec, record: RankRecord) -> Mapping[int, DeviceNeed]:
    """What a rank needs of each device that it used, by the device's ordinal."""
    program, hardware = record.program, job.hardware
    settings = allocator_settings(job, record)
    reserved = reserved_memory(program, settings, hardware, variables=record.memory_variables)
    found: dict[int, DeviceNeed] = {}
    outside = outside_memory(record, hardware, ranks_per_node=job.nproc_per_node)
    for device, footprint in footprints_by_device(timeline_of(program)).items():
        need = DeviceNeed(
            footprint=footprint,
            reserved=reserved.get(device, ReservedMemory()),
            outside=tuple(each for each in outside if each.device == device),
            settings=settings.text,
        )
        left_bytes = max(hardware.usable_bytes - need.outside_low_bytes, 0)
        if need.reserved.peak_bytes > left_bytes:
            need = replace(need, runs_out=runs_out(program, settings, hardware, left_bytes, record.memory_variables))
        found[device] = need
    return found


def allocator_settings(job: JobSpec, record: RankRecord) -> AllocatorSettings:
    """The job's own settings, else those of the variables that the rank found; the defaults where torch refuses these."""
    version = _version(record.torch_version)
    if job.alloc_conf is not None:
        return AllocatorSettings.parse(job.alloc_conf, version)
    try:
        return AllocatorSettings.from_environment(record.memory_variables, version)
    except ValueError:
        return AllocatorSettings(torch_version=version)


def allocator_findings(job: JobSpec, records: Iterable[RankRecord]) -> Iterator[Finding]:
    """Settings that torch refuses, and an allocator that is not the one whose memory is told; each for the first rank that has it."""
    told: set[str] = set()
    for record in records:
        for finding in _allocator_findings(job, record):
            if finding.message not in told:
                told.add(finding.message)
                yield finding


def _allocator_findings(job: JobSpec, record: RankRecord) -> Iterator[Finding]:
    if job.alloc_conf is None:
        try:
            AllocatorSettings.from_environment(record.memory_variables, _version(record.torch_version))
        except ValueError as error:
            variables = ", ".join(f"{name}={value!r}" for name, value in record.memory_variables.items() if name.endswith("ALLOC_CONF"))
            yield Finding(code=FindingCode.ALLOC_CONF, message=f"torch refuses {variables}: {error}", ranks=(record.rank,))
    if allocator_settings(job, record).backend != "native":
        yield Finding(
            code=FindingCode.OTHER_ALLOCATOR,
            message="backend:cudaMallocAsync is set: what is told as reserved is what torch's own allocator would reserve",
            ranks=(record.rank,),
        )


def _version(text: str | None) -> TorchVersion:
    if text is None:
        return LATEST
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
