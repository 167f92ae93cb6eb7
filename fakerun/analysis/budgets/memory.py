"""Budgets of device memory: what is allocated, reserved, needed in all and left, of devices or of single ranks.

What several ranks need of one device is between the highest of their peaks and the sum of them, as they may peak at different times; what
is held outside the allocator is a range, too. A limit in such a range cannot be verified.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.budgets.check import Check, Limit
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.analysis.memory.devices import DeviceShare, PhysicalDevice, name_devices
from fakerun.analysis.memory.fit import MemoryFit, Verdict, device_fit
from fakerun.call_site import CallSite
from fakerun.job.budgets import MemoryBudget, MemoryKey, Selection
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import format_bytes, name_ranks

_RESERVED = frozenset({MemoryKey.PEAK_RESERVED, MemoryKey.DEVICE_TOTAL, MemoryKey.HEADROOM})
"""What depends on what the allocator reserves."""

_WORDS = {
    MemoryKey.PEAK_ALLOCATED: "allocated at the peak",
    MemoryKey.PEAK_RESERVED: "reserved at the peak",
    MemoryKey.DEVICE_TOTAL: "in use at the peak, with what is held outside the allocator",
    MemoryKey.HEADROOM: "left",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What ranks need on a device at their peaks: between two bounds."""

    subject: str
    low_bytes: int
    high_bytes: int
    shares: tuple[DeviceShare, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(share.rank for share in self.shares)

    @property
    def call_site(self) -> CallSite | None:
        """Where the block was allocated that made the largest peak."""
        share = max(self.shares, key=lambda share: share.reserved.peak_bytes)
        block = share.footprint.peak_block
        return None if block is None else block.call_site


def memory_checks(judged: JudgedRun) -> Iterator[Check]:
    """One for each memory budget: of what is selected, that which comes closest to the limit."""
    for budget in judged.budgets.memory:
        yield _check(judged, budget)


def fits_check(judged: JudgedRun) -> Iterator[Check]:
    """Whether every device has memory for all that ranks need there, with the most that may be held outside the allocator.

    Where nobody asked, and it is not known, there is no check.
    """
    required = judged.budgets.fits
    if required is not None and not required.on:
        return
    hardware = judged.job.hardware
    limit = Limit(name="fits", text=format_bytes(hardware.usable_bytes), source="" if required is None else required.source)
    fits = {device: device_fit(device, hardware) for device in judged.devices}
    worst = min(judged.devices, key=lambda device: fits[device].headroom_bytes, default=None)
    subject, measured = ("", "0 B") if worst is None else (name_devices([worst.location]), _total(fits[worst]))
    finding = next((finding for finding in judged.findings if finding.code is FindingCode.DOES_NOT_FIT), None)
    if finding is not None:
        yield limit.exceeded(subject, measured, finding)
        return
    reasons = [*judged.not_known(judged.every_rank), *_tight(judged, fits.values())]
    if worst is not None:
        reasons += _not_settled(worst.shares)
    if not reasons:
        yield limit.kept(subject, measured)
    elif required is not None:
        yield limit.unverified(subject, measured, reasons)


def _tight(judged: JudgedRun, fits: Iterable[MemoryFit]) -> Iterator[str]:
    tight = next((fit for fit in fits if fit.verdict is Verdict.TIGHT), None)
    if tight is not None and FindingCode.TIGHT_FIT not in judged.budgets.allowed_codes:
        yield f"it fits narrowly: {tight.why_tight}"


def _total(fit: MemoryFit) -> str:
    return _range(fit.least_bytes, fit.most_bytes)


def _check(judged: JudgedRun, budget: MemoryBudget) -> Check:
    usable = judged.job.hardware.usable_bytes
    asked = budget.limit.on(judged.job.hardware)
    is_headroom = budget.key is MemoryKey.HEADROOM
    most = usable - asked if is_headroom else asked
    limit = Limit(name=budget.name, text=f"{'at least ' if is_headroom else ''}{format_bytes(asked)}", source=budget.source)
    impossible = _why_nothing_is_selected(judged, budget.of)
    if impossible:
        return limit.unverified("", "", [impossible])
    found = list(_measured(judged, budget))
    worst = max(found, key=lambda each: (each.low_bytes > most, each.high_bytes, each.low_bytes), default=None)
    if worst is None:
        measured, subject = format_bytes(usable if is_headroom else 0), ""
    else:
        bounds = (usable - worst.high_bytes, usable - worst.low_bytes) if is_headroom else (worst.low_bytes, worst.high_bytes)
        measured, subject = _range(*bounds), worst.subject
    if worst is not None and worst.low_bytes > most:
        return limit.exceeded(subject, measured, _over(budget, limit, found, worst, most, measured))
    reasons = [*judged.not_known(_concerned(judged, budget.of), only_simulated=budget.only_simulated), *_not_exact(judged, budget, found)]
    if worst is not None and worst.high_bytes > most:
        reasons.append("the limit is in the range of what may be needed")
    if not reasons:
        return limit.kept(subject, measured)
    return limit.unverified(subject, measured, reasons, ranks=() if worst is None else worst.ranks)


def _over(budget: MemoryBudget, limit: Limit, found: Sequence[_Measured], worst: _Measured, most: int, measured: str) -> Finding:
    over = [each for each in found if each.low_bytes > most]
    others = [each.subject for each in over if each is not worst]
    also = f"; also beyond it: {others[0]}" + (f" and {len(others) - 1} others" if len(others) > 1 else "") if others else ""
    side = "below" if budget.key is MemoryKey.HEADROOM else "above"
    return Finding(
        code=FindingCode.OVER_BUDGET,
        message=(
            f"{worst.subject} has {measured} {_WORDS[budget.key]}, {format_bytes(worst.low_bytes - most)} {side} the limit: {limit}{also}"
        ),
        ranks=tuple(sorted({rank for each in over for rank in each.ranks})),
        call_site=worst.call_site,
    )


def _range(low: int, high: int) -> str:
    texts = format_bytes(low), format_bytes(high)
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


# -- what a budget is about --------------------------------------------------------------------------------------------------------------


def _why_nothing_is_selected(judged: JudgedRun, of: Selection) -> str:
    """Why the budget can be about nothing in this job; empty if it can."""
    job, mesh = judged.job, judged.mesh
    if of.ranks and max(last for _, last in of.ranks) >= job.world_size:
        return f"the job has {job.world_size} ranks"
    if of.cuda_index is not None and (of.node or 0) >= job.nnodes:
        return f"the job has {job.nnodes} node{'s' * (job.nnodes > 1)}"
    if of.cuda_index is not None and of.cuda_index >= job.nproc_per_node and not any(_is_of(of, device) for device in judged.devices):
        return f"no rank uses {of.text}, and a node has {job.nproc_per_node} rank{'s' * (job.nproc_per_node > 1)}"
    if not of.coordinate:
        return ""
    if mesh is None:
        return "the run has no mesh"
    sizes = mesh.by_axis(mesh.sizes)
    for axis, index in of.coordinate.items():
        if axis not in sizes:
            return f"the mesh has no axis {axis}, only {', '.join(mesh.axes)}"
        if index >= sizes[axis]:
            return f"axis {axis} has {sizes[axis]} indices"
    return "" if mesh.world_size == job.world_size else "the mesh does not have all ranks"


def _concerned(judged: JudgedRun, of: Selection) -> Iterable[int]:
    """The ranks that must be known for a budget to be verified."""
    if of.ranks or of.coordinate:
        return _selected_ranks(judged, of)
    size = judged.job.nproc_per_node
    return judged.every_rank if of.node is None else range(of.node * size, (of.node + 1) * size)


def _selected_ranks(judged: JudgedRun, of: Selection) -> list[int]:
    if of.ranks:
        return sorted({rank for first, last in of.ranks for rank in range(first, last + 1)})
    mesh = judged.mesh
    if mesh is None:
        return []
    return [rank for rank in judged.every_rank if of.coordinate.items() <= mesh.by_axis(mesh.coordinate(rank)).items()]


def _measured(judged: JudgedRun, budget: MemoryBudget) -> Iterator[_Measured]:
    of = budget.of
    if not of.ranks and not of.coordinate:
        for device in judged.devices:
            if _is_of(of, device):
                yield _of_shares(budget.key, name_devices([device.location]), device.shares)
        return
    shares: defaultdict[int, list[tuple[PhysicalDevice, DeviceShare]]] = defaultdict(list)
    for device in judged.devices:
        for share in device.shares:
            shares[share.rank].append((device, share))
    for rank in _selected_ranks(judged, of):
        for device, share in shares[rank]:
            where = "" if device.own_rank == rank else f" on {name_devices([device.location])}"
            yield _of_shares(budget.key, f"{name_ranks([rank])}{where}", (share,))


def _is_of(of: Selection, device: PhysicalDevice) -> bool:
    return of.cuda_index in (None, device.cuda_index) and of.node in (None, device.node)


def _of_shares(key: MemoryKey, subject: str, shares: tuple[DeviceShare, ...]) -> _Measured:
    allocated = [share.footprint.peak_bytes for share in shares]
    peaks = allocated if key is MemoryKey.PEAK_ALLOCATED else [share.reserved.peak_bytes for share in shares]
    is_total = key in (MemoryKey.DEVICE_TOTAL, MemoryKey.HEADROOM)
    outside_low = sum(share.need.outside_low_bytes for share in shares) if is_total else 0
    outside_high = sum(share.need.outside_high_bytes for share in shares) if is_total else 0
    more = outside_high + sum(share.need.not_included_bytes for share in shares)
    return _Measured(subject=subject, low_bytes=max(peaks) + outside_low, high_bytes=sum(peaks) + more, shares=shares)


def _not_exact(judged: JudgedRun, budget: MemoryBudget, found: Iterable[_Measured]) -> Iterator[str]:
    """Why more may be needed than what was measured, although the ranks are known."""
    concerned = set(_concerned(judged, budget.of))
    unplaced = [rank for rank, indices in judged.placed.items() if None in indices and rank in concerned]
    if unplaced:
        yield f"the device of {name_ranks(unplaced)} is not known"
    if budget.key in _RESERVED:
        yield from _not_settled([share for each in found for share in each.shares])
        if any(finding.code is FindingCode.OTHER_ALLOCATOR for record in judged.run.ranks for finding in record.findings):
            yield "what another allocator reserves is not simulated"


def _not_settled(shares: Iterable[DeviceShare]) -> Iterator[str]:
    growing = {share.rank for share in shares if share.reserved.has_settled is False}
    if growing:
        yield f"what {name_ranks(growing)} {'reserves' if len(growing) == 1 else 'reserve'} still grows when the last step is repeated"
