"""Whether the job fits: peak reserved memory, and what lives beside it, against the accelerator's memory, for each device of each node.

What is reserved is what the caching allocator holds of the device; when the device has no more, it gives back what it caches and asks
again. What lives outside the allocator is a range. If several ranks allocate on one device, all of it is added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fakerun.analysis.memory.breakdown import TensorGroup, by_category, by_tensor
from fakerun.analysis.memory.devices import DeviceShare, PhysicalDevice, name_devices
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.call_site import CallSite
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import format_bytes, format_ranks, name_ranks

WHAT_IS_WHAT = (
    "Allocated: storages of tensors. Reserved: what torch's caching allocator holds for them and for workspaces of kernels. "
    "Outside: estimated from reports of GPUs in use."
)

_STEPS_OF_A_JOB = 100_000
"""What is kept of each step matters if so many of them do not fit: a list of losses without their graphs takes 512 bytes for each."""
_CATEGORIES_IN_HINT = 3
_PEAKS_SHOWN = 4
_OWN_DEVICE = (
    'call torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before anything is allocated, and load checkpoints with map_location'
)


class Verdict(StrEnum):
    """What is said of a device: with nothing to spare it is tight, and if each step needs more than the one before."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does-not-fit"

    @property
    def words(self) -> str:
        """As a sentence has it: `does not fit`."""
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """A peak of reserved memory, and what is held outside the allocator, against the memory that the accelerator reports.

    `not_included_bytes` is the most that is known of what kernels request and the peak has not, `growth_bytes` what one more step adds.
    `runs_out` is whether the accelerator has too little even with the least outside and when everything that is only cached was given back.
    """

    peak_bytes: int
    usable_bytes: int
    outside_low_bytes: int = 0
    outside_high_bytes: int = 0
    not_included_bytes: int = 0
    growth_bytes: int = 0
    runs_out: bool = False

    @property
    def headroom_bytes(self) -> int:
        """What is left of the most that is needed; negative if that is too much."""
        return self.usable_bytes - self.most_bytes

    @property
    def least_bytes(self) -> int:
        """What is needed with the least outside, if the allocator gives nothing back."""
        return self.peak_bytes + self.outside_low_bytes

    @property
    def most_bytes(self) -> int:
        """What is needed with the most outside, and the most of what is not included."""
        return self.peak_bytes + self.outside_high_bytes + self.not_included_bytes

    @property
    def excess_bytes(self) -> int:
        """By how much the least that is needed exceeds what there is; negative if it does not."""
        return self.least_bytes - self.usable_bytes

    @property
    def verdict(self) -> Verdict:
        if self.headroom_bytes >= 0:
            return Verdict.TIGHT if self.growth_bytes * _STEPS_OF_A_JOB > self.headroom_bytes else Verdict.FITS
        return Verdict.DOES_NOT_FIT if self.runs_out else Verdict.TIGHT

    @property
    def why_tight(self) -> str:
        """What makes it tight."""
        if self.growth_bytes and self.headroom_bytes >= 0:
            steps = self.headroom_bytes // self.growth_bytes
            return f"the last step kept {format_bytes(self.growth_bytes)} more than the one before, for which there is room {steps:,} times"
        return "the allocator has to give back what it caches" if self.excess_bytes > 0 else "it may be too little"

    @property
    def fits(self) -> bool:
        return self.verdict is not Verdict.DOES_NOT_FIT


def need_fit(need: DeviceNeed, hardware: Accelerator) -> MemoryFit:
    """The verdict on what one rank needs of a device that it has to itself."""
    return MemoryFit(
        peak_bytes=need.reserved.peak_bytes,
        usable_bytes=hardware.usable_bytes,
        outside_low_bytes=need.outside_low_bytes,
        outside_high_bytes=need.outside_high_bytes,
        not_included_bytes=need.not_included_bytes,
        growth_bytes=need.growth_bytes,
        runs_out=need.runs_out,
    )


def device_fit(device: PhysicalDevice, hardware: Accelerator) -> MemoryFit:
    """The verdict on a device with all ranks that allocate there. Of several each keeps at least what it allocates."""
    least_bytes = device.peak_allocated_bytes + device.outside_low_bytes
    return MemoryFit(
        peak_bytes=device.peak_bytes,
        usable_bytes=hardware.usable_bytes,
        outside_low_bytes=device.outside_low_bytes,
        outside_high_bytes=device.outside_high_bytes,
        not_included_bytes=device.not_included_bytes,
        growth_bytes=sum(share.need.growth_bytes for share in device.shares),
        runs_out=device.runs_out or (device.is_shared and least_bytes > hardware.usable_bytes),
    )


def fit_findings(devices: Sequence[PhysicalDevice], hardware: Accelerator) -> tuple[Finding, ...]:
    """At most two `does-not-fit`: for all devices that are too small for one rank, and for those too small for several together.

    And one `tight-fit` for all devices that are large enough only just. Each describes the device with the highest peak.
    """
    over = [device for device in devices if not device_fit(device, hardware).fits]
    tight = [device for device in devices if device_fit(device, hardware).verdict is Verdict.TIGHT]
    return (
        *_tight([device for device in tight if device.peak_bytes], hardware),
        *_one_rank_does_not_fit([device for device in over if not device.is_shared], hardware),
        *_several_ranks_do_not_fit([device for device in over if device.is_shared], hardware),
    )


def contributions(device: PhysicalDevice) -> str:
    """What each rank reserves on the device: `24.0 GiB from rank 0, 12.0 GiB from each of ranks 1-3`."""
    parts = [_contribution(each.reserved_bytes, each.ranks) for each in device.ranks_by_peak]
    more = len(parts) - _PEAKS_SHOWN
    return ", ".join(parts[:_PEAKS_SHOWN]) + (f" and less from {more} more" if more > 0 else "")


def _contribution(peak_bytes: int, ranks: Sequence[int]) -> str:
    return f"{format_bytes(peak_bytes)} from {'each of ranks' if len(ranks) > 1 else 'rank'} {format_ranks(ranks)}"


def _one_rank_does_not_fit(devices: Sequence[PhysicalDevice], hardware: Accelerator) -> Iterator[Finding]:
    if not devices:
        return
    worst = max(devices, key=lambda device: device.peak_bytes)
    (share,) = worst.shares
    others = {each.shares[0].rank for each in devices} - {share.rank}
    where = "" if share.rank == worst.own_rank else f" on {name_devices([worst.location])}"
    fit = device_fit(worst, hardware)
    also = f"; also over on rank{'s' * (len(others) > 1)} {format_ranks(others)}" if others else ""
    yield Finding(
        code=FindingCode.DOES_NOT_FIT,
        message=(
            f"peak reserved {format_bytes(fit.peak_bytes)} on rank {share.rank}{where}{_and_outside(fit)} is "
            f"{format_bytes(fit.excess_bytes)} over the {format_bytes(fit.usable_bytes)} that {hardware} has{also}"
        ),
        ranks=_ranks(devices),
        call_site=_call_site(share),
        hint=_largest(share.footprint),
    )


def _and_outside(fit: MemoryFit) -> str:
    least = format_bytes(fit.outside_low_bytes)
    return f", with at least {least} outside the allocator," if fit.outside_low_bytes else ""


def _tight(devices: Sequence[PhysicalDevice], hardware: Accelerator) -> Iterator[Finding]:
    if not devices:
        return
    worst = max(devices, key=lambda device: device.peak_bytes)
    largest = max(worst.shares, key=lambda share: share.reserved.peak_bytes)
    others = [device.location for device in devices if device is not worst]
    also = f"; also: {name_devices(others)}" if others else ""
    fit = device_fit(worst, hardware)
    held = f", and {format_bytes(fit.outside_low_bytes)} to {format_bytes(fit.outside_high_bytes)} are held outside the allocator"
    outside = held if fit.outside_high_bytes else ""
    kernels = f", kernels may request {format_bytes(fit.not_included_bytes)} more" if fit.not_included_bytes else ""
    yield Finding(
        code=FindingCode.TIGHT_FIT,
        message=(
            f"{name_devices([worst.location])}: {name_ranks([share.rank for share in worst.shares])} would reserve "
            f"{format_bytes(fit.peak_bytes)} of the {format_bytes(fit.usable_bytes)} that {hardware} has, of which "
            f"{format_bytes(worst.peak_allocated_bytes)} are allocated{outside}{kernels}: {fit.why_tight}{also}"
        ),
        ranks=_ranks(devices),
        call_site=_call_site(largest),
        hint=_largest(largest.footprint),
    )


def _several_ranks_do_not_fit(devices: Sequence[PhysicalDevice], hardware: Accelerator) -> Iterator[Finding]:
    if not devices:
        return
    worst = max(devices, key=lambda device: device.peak_bytes)
    others = [device.location for device in devices if device is not worst]
    also = f"; also over: {name_devices(others)}" if others else ""
    largest = max(worst.foreign_shares or worst.shares, key=lambda share: share.reserved.peak_bytes)
    yield Finding(
        code=FindingCode.DOES_NOT_FIT,
        message=(
            f"{name_devices([worst.location])} needs {format_bytes(worst.peak_bytes)} (the sum of the ranks' peaks): "
            f"{contributions(worst)}; {hardware} has {format_bytes(hardware.usable_bytes)}{also}"
        ),
        ranks=_ranks(devices),
        call_site=_call_site(largest),
        hint=f"{_foreign_ranks(worst)}{_largest(largest.footprint)}",
    )


def _ranks(devices: Sequence[PhysicalDevice]) -> tuple[int, ...]:
    return tuple(sorted({share.rank for device in devices for share in device.shares}))


def _call_site(share: DeviceShare) -> CallSite | None:
    block = share.footprint.peak_block
    return None if block is None else block.call_site


def _foreign_ranks(device: PhysicalDevice) -> str:
    """Which ranks allocate on a device that is not their own, and how to avoid it."""
    ranks = [share.rank for share in device.foreign_shares]
    if not ranks:
        return ""
    allocate = f"ranks {format_ranks(ranks)} allocate" if len(ranks) > 1 else f"rank {ranks[0]} allocates"
    own = "devices of their own" if len(ranks) > 1 else "a device of its own"
    return f"{allocate} on cuda:{device.cuda_index} instead of {own}: {_OWN_DEVICE}; "


def _largest(footprint: MemoryFootprint) -> str:
    totals = by_category(footprint.alive_at_peak)
    largest = sorted((category for category in totals if totals[category]), key=lambda category: -totals[category])
    categories = ", ".join(f"{category} {format_bytes(totals[category])}" for category in largest[:_CATEGORIES_IN_HINT])
    return f"largest at the peak: {categories}; {described(by_tensor(footprint.alive_at_peak)[0])}"


def described(group: TensorGroup) -> str:
    """A group of equal tensors as part of a hint."""
    shape = ",".join(map(str, group.shape))
    where = f" from {group.call_site}" if group.call_site else ""
    return f"the largest tensors are {group.count} x {group.dtype}[{shape}] ({group.category}, {format_bytes(group.nbytes)}){where}"
