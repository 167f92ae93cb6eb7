"""The sections on one rank's device memory: the verdict and the peaks, what was allocated at the peak, what the allocator held."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from fakerun.analysis.memory.fit import WHAT_IS_WHAT, MemoryFit, Verdict
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.analysis.memory.reserved import PoolMemory, ReservedMemory
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import PoolOrigin
from fakerun.records.memory import MemoryBlock
from fakerun.report.model import DeviceMemory, RankReport
from fakerun.report.page.advice import advice_sections
from fakerun.report.page.blocks import Clip, Column, Fact, Facts, Point, Prose, Row, Section, Series, SideBySide, Table, Tone
from fakerun.units import format_bytes, format_share, name_ranks

_MODULES_SHOWN = 8
_POOLS_SHOWN = 6
_LEAST_POOL_SHARE = 0.01
_MODULE_WIDTH = 22
_LEAST_NOT_INCLUDED = 1024**2


def memory_sections(rank: RankReport, hardware: Accelerator, *, tensors_shown: int) -> tuple[Section, ...]:
    """The verdict on the rank's largest device, where its peak was, and what was allocated then by category, module and tensor."""
    title = f"Memory of rank {rank.record.rank}"
    device = rank.largest_device
    footprint = device.footprint
    if footprint.peak_block is None:
        return (Section(title=title, blocks=(Prose(text="no device memory was allocated"),)),)
    which = f" on cuda:{device.cuda_index}" if len(rank.devices) > 1 else ""
    facts = (
        Fact(label="reserved", values=tuple(_reserved(device.reserved, which, device.need.settings))),
        Fact(label="allocated", values=_peak(f"{format_bytes(footprint.peak_bytes)}", footprint, footprint.peak_block)),
        *_outside(device.need),
        *_not_included(device.need),
        Fact(label="at the end", values=(format_bytes(footprint.final_bytes),)),
    )
    remark, verdicts = _verdicts(rank, hardware)
    return (
        Section(
            title=title,
            remark=remark,
            blocks=(*verdicts, Facts(facts=facts), *_by_step(_reserved_by_step(device.reserved), _allocated_by_step(footprint))),
        ),
        *_pools(device.reserved),
        Section(
            title="Allocated at the peak",
            remark=Prose(text="by category, by module, and the largest tensors"),
            blocks=(
                SideBySide(left=_categories(device), right=_modules(device)),
                _tensors(device, tensors_shown),
                Prose(text=WHAT_IS_WHAT, tone=Tone.MUTED),
            ),
            level=2,
        ),
        *advice_sections(device),
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
    """`fits: needs up to 31.2 GiB of 79.1 GiB, 47.9 GiB headroom`, or what it lacks. One that failed or is blocked might need more."""
    least, most, usable = (format_bytes(nbytes) for nbytes in (fit.least_bytes, fit.most_bytes, fit.usable_bytes))
    if fit.verdict is Verdict.DOES_NOT_FIT:
        excess = format_bytes(fit.excess_bytes)
        return Prose(text=f"DOES NOT FIT: needs at least {least}, {excess} more than {usable} ({hardware})", tone=Tone.BAD)
    until = " until it failed" if rank.record.failure else " until it was blocked" if rank.record.blocked else ""
    if fit.verdict is Verdict.TIGHT:
        return Prose(text=f"TIGHT{until}: needs {least} to {most} of {usable} ({hardware}): {fit.why_tight}", tone=Tone.BAD)
    headroom = format_bytes(fit.headroom_bytes)
    return Prose(text=f"fits{until}: needs up to {most} of {usable} ({hardware}), {headroom} headroom", tone=Tone.GOOD)


def _peak(amount: str, footprint: MemoryFootprint, block: MemoryBlock) -> tuple[str, ...]:
    """How much, on which device, in which step and phase, in which module and on which line."""
    where = f"at {block.call_site}" if block.call_site else ""
    return tuple(filter(None, (f"{amount} in step {footprint.peak_step}", block.phase, block.module, where)))


def _reserved(memory: ReservedMemory, which: str, settings: str) -> Iterator[str]:
    """The peak, in which step, whether later steps need more, and how the allocator is set."""
    simulated = len(memory.per_step_peak_bytes)
    step = "" if memory.peak_step is None else f" in step {memory.peak_step}"
    repeated = f", which repeats step {simulated - 1}" if (memory.peak_step or 0) >= simulated > 0 else ""
    yield f"{format_bytes(memory.peak_bytes)}{which}{step}{repeated}"
    if simulated:
        yield "no more when the last step is repeated" if memory.has_settled else "later steps may need more"
    if settings:
        yield settings


def _by_step(*all_series: Series) -> Iterator[Series]:
    """Those in which steps differ."""
    return (series for series in all_series if len(series.points) > 1)


def _outside(need: DeviceNeed) -> Iterator[Fact]:
    """What is held outside the allocator, as ranges: all of it, the context, and the buffers of all communicators together."""
    if not need.outside:
        return
    context, *buffers = need.outside
    name = context.what.partition(" and ")[0]
    values = [_range(need.outside_low_bytes, need.outside_high_bytes), f"{name} {_range(context.low_bytes, context.high_bytes)}"]
    if buffers:
        library = buffers[0].what.split()[0]
        both = _range(sum(each.low_bytes for each in buffers), sum(each.high_bytes for each in buffers))
        values.append(f"{library} {both} for {len(buffers)} communicator{'s' * (len(buffers) > 1)}")
    yield Fact(label="outside", values=tuple(values))


def _not_included(need: DeviceNeed) -> Iterator[Fact]:
    """What kernels request and what is reserved has not; of what is known to be small, nothing."""
    worth_naming = [each for each in need.not_included if each.most_bytes is None or each.most_bytes >= _LEAST_NOT_INCLUDED]
    if worth_naming:
        yield Fact(label="not included", values=tuple(f"{each.gap.what}{_up_to(each.most_bytes)}" for each in worth_naming))


def _up_to(nbytes: int | None) -> str:
    return "" if nbytes is None else f" up to {format_bytes(nbytes)}"


def _range(low_bytes: int, high_bytes: int) -> str:
    return f"{format_bytes(low_bytes)} to {format_bytes(high_bytes)}"


def _reserved_by_step(memory: ReservedMemory) -> Series:
    """The peak of each step, and of repetitions of the last one as far as they need more."""
    peaks = [*memory.per_step_peak_bytes, *memory.repeated_step_peak_bytes]
    while len(peaks) > len(memory.per_step_peak_bytes) and peaks[-1] <= peaks[-2]:
        del peaks[-1]
    return Series(label="reserved by step", unit="bytes", points=tuple(_step_points(peaks)))


def _step_points(peaks: Sequence[int]) -> Iterator[Point]:
    """Runs of equal peaks together: `30.1 GiB (step 0), 31.2 GiB (steps 1-3)`."""
    for peak, run in groupby(enumerate(peaks), key=lambda numbered: numbered[1]):
        first, *others = (step for step, _ in run)
        yield _point(f"steps {first}-{others[-1]}" if others else f"step {first}", peak)


def _allocated_by_step(footprint: MemoryFootprint) -> Series:
    peaks = footprint.per_step_peak_bytes
    points = list(_step_points(peaks))
    if footprint.unfinished_step_peak_bytes is not None:
        points.append(_point(f"after step {len(peaks) - 1}" if peaks else "no step completed", footprint.unfinished_step_peak_bytes))
    return Series(label="allocated by step", unit="bytes", points=tuple(points))


def _point(label: str, nbytes: int) -> Point:
    return Point(label=label, value=nbytes, text=format_bytes(nbytes))


def _pools(memory: ReservedMemory) -> Iterator[Section]:
    """What each pool held when most was reserved; nothing where one has nearly all of it."""
    shown = [pool for pool in memory.pools_at_peak[:_POOLS_SHOWN] if pool.reserved_bytes > _LEAST_POOL_SHARE * memory.peak_bytes]
    rest = memory.pools_at_peak[len(shown) :]
    if len(shown) < 2:
        return
    columns = (
        Column(heading="pool", clip=Clip.KEEP_START, min_width=12),
        *(Column(heading=heading, align="right") for heading in ("reserved", "allocated", "free")),
        Column(heading="largest free", align="right", priority=1),
    )
    rows = [_pool_row(_pool_name(pool), [pool], pool.largest_free_bytes) for pool in shown]
    if rest:
        rows.append(_pool_row(f"{len(rest)} smaller pool{'s' * (len(rest) > 1)}", rest, max(pool.largest_free_bytes for pool in rest)))
    private = "; a private pool serves nothing else" if any(pool.private for pool in shown) else ""
    yield Section(
        title="Reserved at the peak",
        remark=Prose(text=f"a pool serves one stream; what is free in it serves no other{private}"),
        blocks=(Table(columns=columns, rows=tuple(rows)),),
        level=2,
    )


def _pool_row(name: str, pools: Sequence[PoolMemory], largest_free_bytes: int) -> Row:
    totals = (
        sum(pool.reserved_bytes for pool in pools),
        sum(pool.allocated_bytes for pool in pools),
        sum(pool.free_bytes for pool in pools),
        largest_free_bytes,
    )
    return Row(cells=(name, *map(format_bytes, totals)))


def _pool_name(pool: PoolMemory) -> str:
    """`default stream`, `stream 3`, `stream 0 of high priority`; requests of at most 1 MiB have pools of their own.

    With a private pool, its identity and where it was made: `stream 3, MemPool (0, 1) of train.py:12`.
    """
    stream = pool.stream
    name = "default stream" if stream.index is None else f"stream {stream.index}" + (" of high priority" if stream.priority < 0 else "")
    if pool.private is not None:
        what = "MemPool" if pool.private.origin is PoolOrigin.MEM_POOL else "graph pool"
        name += f", {what} {pool.pool_id}" + (f" of {pool.private.call_site}" if pool.private.call_site else "")
    return f"{name}, up to 1 MiB" if pool.is_small else name


def _categories(device: DeviceMemory) -> Table:
    columns = (Column(heading="category"), Column(heading="bytes", align="right"), Column(heading="", align="right"))
    largest_first = sorted(device.categories, key=lambda category: -device.categories[category])
    rows = (
        Row(cells=(category, format_bytes(nbytes), format_share(nbytes, device.footprint.peak_bytes)))
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
                format_share(share.nbytes, device.footprint.peak_bytes),
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
