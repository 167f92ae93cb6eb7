"""Does the job fit: peak allocated memory against what the accelerator has.

The estimate is made of the storages of tensors alone, so a job that does not fit here does not fit; one that fits narrowly may
still run out. `NOT_COUNTED` says what is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.analysis.breakdown import TensorGroup, by_category, by_tensor
from fakerun.analysis.memory import MemoryFootprint
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import ALLOCATION_GRANULARITY_BYTES
from fakerun.units import format_bytes, format_ranks

COUNTED = f"storages of tensors, each rounded up to {ALLOCATION_GRANULARITY_BYTES} bytes"
NOT_COUNTED = "allocator fragmentation (reserved minus allocated), the CUDA context, NCCL and cuBLAS workspaces"

_CATEGORIES_IN_HINT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """One rank's peak against the memory that its accelerator reports. `headroom_bytes` is negative when it does not fit."""

    peak_bytes: int
    usable_bytes: int

    @property
    def headroom_bytes(self) -> int:
        return self.usable_bytes - self.peak_bytes

    @property
    def fits(self) -> bool:
        return self.headroom_bytes >= 0


def memory_fit(footprint: MemoryFootprint, hardware: Accelerator) -> MemoryFit:
    """The footprint's peak against the hardware."""
    return MemoryFit(peak_bytes=footprint.peak_bytes, usable_bytes=hardware.usable_bytes)


def fit_findings(footprints: Mapping[int, MemoryFootprint], hardware: Accelerator) -> tuple[Finding, ...]:
    """One `does-not-fit` for all ranks, by number, whose peak is over the hardware's memory; it describes the largest."""
    over = {rank: footprint for rank, footprint in footprints.items() if not memory_fit(footprint, hardware).fits}
    if not over:
        return ()
    worst_rank = max(over, key=lambda rank: over[rank].peak_bytes)
    worst = over[worst_rank]
    block = worst.peak_block
    return (
        Finding(
            code=FindingCode.DOES_NOT_FIT,
            message=_message(worst_rank, worst, hardware, other_ranks=tuple(rank for rank in over if rank != worst_rank)),
            ranks=tuple(sorted(over)),
            call_site=None if block is None else block.call_site,
            hint=_hint(worst),
        ),
    )


def _message(rank: int, footprint: MemoryFootprint, hardware: Accelerator, *, other_ranks: tuple[int, ...]) -> str:
    over_bytes = footprint.peak_bytes - hardware.usable_bytes
    others = f"; also over on rank{'s' * (len(other_ranks) > 1)} {format_ranks(other_ranks)}" if other_ranks else ""
    return (
        f"peak allocated {format_bytes(footprint.peak_bytes)} on rank {rank} is {format_bytes(over_bytes)} over "
        f"the {format_bytes(hardware.usable_bytes)} that {hardware} has{others}"
    )


def _hint(footprint: MemoryFootprint) -> str:
    totals = by_category(footprint.alive_at_peak)
    largest = sorted((category for category in totals if totals[category]), key=lambda category: -totals[category])
    categories = ", ".join(f"{category} {format_bytes(totals[category])}" for category in largest[:_CATEGORIES_IN_HINT])
    return f"largest at the peak: {categories}; {_described(by_tensor(footprint.alive_at_peak)[0])}"


def _described(group: TensorGroup) -> str:
    shape = ",".join(map(str, group.shape))
    where = f" from {group.call_site}" if group.call_site else ""
    return f"the largest tensors are {group.count} x {group.dtype}[{shape}] ({group.category}, {format_bytes(group.nbytes)}){where}"
