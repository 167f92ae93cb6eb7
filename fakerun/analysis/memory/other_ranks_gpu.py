"""Memory that a rank allocates on the GPU of another rank besides its own, where it fits; where it does not, `does-not-fit` tells of it."""

from collections.abc import Iterator, Sequence

from fakerun.analysis.memory.breakdown import by_tensor
from fakerun.analysis.memory.devices import DeviceShare, PhysicalDevice, name_devices
from fakerun.analysis.memory.fit import described, device_fit
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import format_bytes, format_ranks

_OWN_DEVICE = (
    "load checkpoints with map_location, move tensors to the host before they are exchanged as objects, and call "
    'torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before anything is allocated'
)


def other_ranks_gpu_findings(devices: Sequence[PhysicalDevice], hardware: Accelerator) -> Iterator[Finding]:
    """At most one `other-ranks-gpu`; it describes the device on which other ranks allocate most.

    A rank that uses no device of its own is not meant: it has the wrong device altogether (`duplicate-gpu`).
    """
    at_home = {share.rank for device in devices for share in device.shares if share.rank == device.own_rank}
    visited = [
        (device, visitors)
        for device in devices
        if device.own_rank in at_home
        and device_fit(device, hardware).fits
        and (visitors := tuple(share for share in device.foreign_shares if share.rank in at_home))
    ]
    if visited:
        visited.sort(key=lambda each: -sum(share.footprint.peak_bytes for share in each[1]))
        yield _finding(visited)


def _finding(visited: Sequence[tuple[PhysicalDevice, Sequence[DeviceShare]]]) -> Finding:
    (device, visitors), *others = visited
    largest = max(visitors, key=lambda share: share.footprint.peak_bytes)
    tensors = by_tensor(largest.footprint.alive_at_peak)[0]
    also = f"; also: {name_devices([other.location for other, _ in others])}" if others else ""
    return Finding(
        code=FindingCode.OTHER_RANKS_GPU,
        message=f"{_who_allocates_what(visitors)} on {name_devices([device.location])}, the device of rank {device.own_rank}{also}",
        ranks=tuple(sorted({share.rank for _, shares in visited for share in shares})),
        call_site=tensors.call_site,
        hint=f"{described(tensors)}; {_OWN_DEVICE}",
    )


def _who_allocates_what(visitors: Sequence[DeviceShare]) -> str:
    peak = format_bytes(max(share.footprint.peak_bytes for share in visitors))
    ranks = format_ranks([share.rank for share in visitors])
    return f"ranks {ranks} allocate up to {peak} each" if len(visitors) > 1 else f"rank {ranks} allocates {peak}"
