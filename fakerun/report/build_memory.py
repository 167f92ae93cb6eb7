"""The memory part of a Report: each rank's devices, and the devices of the nodes with what all ranks allocate there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fakerun.analysis.classes import RankClass
from fakerun.analysis.memory.breakdown import by_category, by_module, by_tensor
from fakerun.analysis.memory.devices import Devices, PhysicalDevice, physical_devices
from fakerun.analysis.memory.fit import contributions, device_fit, need_fit
from fakerun.analysis.memory.need import DeviceNeed, device_needs
from fakerun.hardware.accelerator import Accelerator
from fakerun.job.spec import JobSpec
from fakerun.records.run import RunRecord
from fakerun.report.build_advice import advice_on, advised_device
from fakerun.report.model import DeviceMemory, PhysicalDeviceReport


class MemoryOfRun:
    """What all ranks allocate, on which devices: `devices` tells those of each rank. Each class of ranks is analysed once."""

    def __init__(self, job: JobSpec, run: RunRecord, classes: Sequence[RankClass], devices: Mapping[int, Devices]) -> None:
        records = {record.rank: record for record in run.ranks}
        needs = [device_needs(job, records[each.simulated[0]]) for each in classes]
        by_rank = {rank: own for each, own in zip(classes, needs, strict=True) for rank in (*each.simulated, *each.assumed)}
        self.physical: tuple[PhysicalDevice, ...] = physical_devices(by_rank, devices, ranks_per_node=job.nproc_per_node)
        self._job = job
        self._devices = devices
        self._reports = {(each.node, each.cuda_index): _physical_report(each, job.hardware) for each in self.physical}
        self._headroom_by_rank = _least_headroom(self._reports.values())
        memories = [_rank_memory(own, job.hardware) for own in needs]
        advised = advised_device(job, needs)
        if advised is not None:
            place, ordinal = advised
            advice = advice_on(job, records[classes[place].simulated[0]], ordinal, needs[place][ordinal])
            memories[place][ordinal] = replace(memories[place][ordinal], advice=advice)
        self._of_class = {rank: memory for each, memory in zip(classes, memories, strict=True) for rank in each.simulated}

    def of(self, rank: int) -> tuple[DeviceMemory, ...]:
        """The memory of a simulated rank by device, in order of first use; a single empty one if it allocated nothing."""
        found = self._of_class[rank]
        return tuple(self._placed(rank, ordinal, memory) for ordinal, memory in found.items()) or (
            _device_memory(DeviceNeed(), self._job.hardware),
        )

    def headroom_bytes(self, ranks: Iterable[int]) -> int:
        """The least headroom of the devices that any of the ranks allocates on, counting all ranks that allocate there."""
        return min(self._headroom_by_rank.get(rank, self._job.hardware.usable_bytes) for rank in ranks)

    def reports(self) -> tuple[PhysicalDeviceReport, ...]:
        """The devices that a simulated rank allocates on, by node and index."""
        return tuple(report for report in self._reports.values() if any(share.rank in self._of_class for share in report.device.shares))

    def _placed(self, rank: int, ordinal: int, memory: DeviceMemory) -> DeviceMemory:
        index = self._devices[rank][ordinal]
        physical = None if index is None else self._reports.get((rank // self._job.nproc_per_node, index))
        return replace(memory, cuda_index=index, physical=physical)


def _least_headroom(reports: Iterable[PhysicalDeviceReport]) -> Mapping[int, int]:
    """By rank, the least headroom of the devices that it allocates on."""
    found: dict[int, int] = {}
    for report in reports:
        for share in report.device.shares:
            found[share.rank] = min(report.fit.headroom_bytes, found.get(share.rank, report.fit.headroom_bytes))
    return found


def _rank_memory(needs: Mapping[int, DeviceNeed], hardware: Accelerator) -> dict[int, DeviceMemory]:
    return {ordinal: _device_memory(need, hardware) for ordinal, need in needs.items()}


def _device_memory(need: DeviceNeed, hardware: Accelerator) -> DeviceMemory:
    alive = need.footprint.alive_at_peak
    return DeviceMemory(
        cuda_index=None,
        need=need,
        fit=need_fit(need, hardware),
        physical=None,
        categories=by_category(alive),
        modules=by_module(alive),
        tensors=by_tensor(alive),
    )


def _physical_report(device: PhysicalDevice, hardware: Accelerator) -> PhysicalDeviceReport:
    return PhysicalDeviceReport(device=device, fit=device_fit(device, hardware), contributions=contributions(device))
