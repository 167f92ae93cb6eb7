"""The sections on one rank's device memory: the verdict and the peak, then what was allocated at the peak."""

from itertools import groupby

from fakerun.analysis.memory.fit import COUNTED, NOT_COUNTED, MemoryFit
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.memory import MemoryBlock
from fakerun.report.model import DeviceMemory, RankReport
from fakerun.report.page.blocks import Clip, Column, Fact, Facts, Point, Prose, Row, Section, Series, SideBySide, Table, Tone
from fakerun.units import format_bytes, name_ranks

_MODULES_SHOWN = 8
_MODULE_WIDTH = 22


def memory_sections(rank: RankReport, hardware: Accelerator, *, tensors_shown: int) -> tuple[Section, ...]:
    """The verdict on the rank's largest device, where its peak was, and what was allocated then by category, module and tensor."""
    title = f"Memory of rank {rank.record.rank}"
    device = rank.largest_device
    footprint = device.footprint
    if footprint.peak_block is None:
        return (Section(title=title, blocks=(Prose(text="no device memory was allocated"),)),)
    which = f" on cuda:{device.cuda_index}" if len(rank.devices) > 1 else ""
    facts = (
        Fact(label="peak", values=_peak(f"{format_bytes(footprint.peak_bytes)}{which}", footprint, footprint.peak_block)),
        Fact(label="at the end", values=(format_bytes(footprint.final_bytes),)),
    )
    remark, verdicts = _verdicts(rank, hardware)
    return (
        Section(title=title, remark=remark, blocks=(*verdicts, Facts(facts=facts), _step_peaks(footprint))),
        Section(
            title="Allocated at the peak",
            remark=Prose(text="by category, by module, and the largest tensors"),
            blocks=(
                SideBySide(left=_categories(device), right=_modules(device)),
                _tensors(device, tensors_shown),
                Prose(text=f"Counted: {COUNTED}. Not counted: {NOT_COUNTED}.", tone=Tone.MUTED),
            ),
            level=2,
        ),
    )


def _verdicts(rank: RankReport, hardware: Accelerator) -> tuple[Prose | None, tuple[Prose, ...]]:
    """One verdict, beside the title, on a rank that has one device to itself; else one for each device, below it."""
    if len(rank.devices) == 1 and not _needs_explaining(rank.devices[0]):
        return _verdict(rank, rank.devices[0].fit, hardware), ()
    return None, tuple(_device_verdict(rank, device, hardware) for device in rank.devices)


def _needs_explaining(device: DeviceMemory) -> bool:
    """Whether others than the device's own rank use it."""
    return device.physical is not None and bool(device.physical.device.foreign_shares)


def _device_verdict(rank: RankReport, memory: DeviceMemory, hardware: Accelerator) -> Prose:
    """`cuda:0 of node 0 fits: ...`, with who allocates there if several ranks do, and who may."""
    verdict = _verdict(rank, memory.fit_on_node, hardware)
    if memory.physical is None:
        return verdict
    device = memory.physical.device
    shares = f"; the sum of the ranks' peaks: {memory.physical.contributions}" if device.is_shared else ""
    has_unknown = device.uncounted and device.foreign_shares
    unknown = f"; not counted: {name_ranks(device.uncounted)} of the node, not simulated" if has_unknown else ""
    return Prose(text=f"cuda:{device.cuda_index} of node {device.node} {verdict.text}{shares}{unknown}", tone=verdict.tone)


def _verdict(rank: RankReport, fit: MemoryFit, hardware: Accelerator) -> Prose:
    """`fits: 31.2 GiB of 79.1 GiB, 47.9 GiB headroom`, or by how much it does not. One that failed or is blocked might have needed more."""
    peak, usable = format_bytes(fit.peak_bytes), format_bytes(fit.usable_bytes)
    if not fit.fits:
        excess = format_bytes(-fit.headroom_bytes)
        return Prose(text=f"DOES NOT FIT: {peak} exceeds {usable} ({hardware}) by {excess}", tone=Tone.BAD)
    until = " until it failed" if rank.record.failure else " until it was blocked" if rank.record.blocked else ""
    return Prose(text=f"fits{until}: {peak} of {usable} ({hardware}), {format_bytes(fit.headroom_bytes)} headroom", tone=Tone.GOOD)


def _peak(amount: str, footprint: MemoryFootprint, block: MemoryBlock) -> tuple[str, ...]:
    """How much, on which device, in which step and phase, in which module and on which line."""
    where = f"at {block.call_site}" if block.call_site else ""
    return tuple(filter(None, (f"{amount} in step {footprint.peak_step}", block.phase, block.module, where)))


def _step_peaks(footprint: MemoryFootprint) -> Series:
    """The peak of each step, runs of equal ones together: `30.1 GiB (step 0), 31.2 GiB (steps 1-3)`."""
    peaks = footprint.per_step_peak_bytes
    points: list[Point] = []
    for peak, run in groupby(enumerate(peaks), key=lambda numbered: numbered[1]):
        first, *others = (step for step, _ in run)
        points.append(_point(f"steps {first}-{others[-1]}" if others else f"step {first}", peak))
    if footprint.unfinished_step_peak_bytes is not None:
        points.append(_point(f"after step {len(peaks) - 1}" if peaks else "no step completed", footprint.unfinished_step_peak_bytes))
    return Series(label="peak by step", unit="bytes", points=tuple(points))


def _point(label: str, nbytes: int) -> Point:
    return Point(label=label, value=nbytes, text=format_bytes(nbytes))


def _categories(device: DeviceMemory) -> Table:
    columns = (Column(heading="category"), Column(heading="bytes", align="right"), Column(heading="", align="right"))
    largest_first = sorted(device.categories, key=lambda category: -device.categories[category])
    rows = (
        Row(cells=(category, format_bytes(nbytes), _percent(nbytes, device.footprint.peak_bytes)))
        for category in largest_first
        if (nbytes := device.categories[category])
    )
    return Table(columns=columns, rows=tuple(rows))


def _modules(device: DeviceMemory) -> Table:
    columns = (
        Column(heading="module", clip=Clip.KEEP_MODULE, max_width=_MODULE_WIDTH),
        Column(heading="", align="right"),
        Column(heading="bytes", align="right"),
        Column(heading="", align="right"),
        Column(heading="mostly"),
    )
    rows = (
        Row(
            cells=(
                _module(share.module),
                f"x {share.instances}" if share.instances > 1 else "",
                format_bytes(share.nbytes),
                _percent(share.nbytes, device.footprint.peak_bytes),
                share.largest_category,
            )
        )
        for share in device.modules[:_MODULES_SHOWN]
    )
    return Table(columns=columns, rows=tuple(rows))


def _tensors(device: DeviceMemory, shown: int) -> Table:
    columns = (
        Column(heading="tensor", clip=Clip.KEEP_START, min_width=28),
        Column(heading="", align="right"),
        Column(heading="bytes", align="right"),
        Column(heading="category", priority=2),
        Column(heading="module", clip=Clip.KEEP_MODULE, min_width=18, priority=1),
        Column(heading="allocated at", clip=Clip.KEEP_FILE, min_width=16),
    )
    rows = [
        Row(
            cells=(
                f"{group.dtype}[{','.join(map(str, group.shape))}]",
                f"x {group.count}" if group.count > 1 else "",
                format_bytes(group.nbytes),
                group.category,
                _module(group.module),
                str(group.call_site or "-"),
            )
        )
        for group in device.tensors[:shown]
    ]
    rest = device.tensors[shown:]
    if rest:
        count, nbytes = sum(group.count for group in rest), sum(group.nbytes for group in rest)
        rows.append(Row(cells=("smaller tensors", f"x {count}", format_bytes(nbytes), "", "", "")))
    return Table(columns=columns, rows=tuple(rows))


def _module(name: str | None) -> str:
    if name is None:
        return "(outside modules)"
    return name or "(root)"


def _percent(part: int, whole: int) -> str:
    """`42 %`; what is there but rounds to nothing is `<1 %`."""
    return f"{100 * part / whole:.0f} %" if 200 * part > whole else "<1 %"
