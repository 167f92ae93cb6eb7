"""The table report's view of one rank's device memory: the verdict, the peak and what was alive at it."""

from fakerun.analysis.breakdown import by_category, by_module, by_tensor
from fakerun.analysis.fit import COUNTED, NOT_COUNTED
from fakerun.analysis.memory import MemoryFootprint
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.memory import MemoryBlock
from fakerun.report.grid import Column, Grid, beside
from fakerun.report.model import RankReport
from fakerun.report.style import Style, clip_end, clip_module, clip_place
from fakerun.units import format_bytes

_MODULES_SHOWN = 8
_MODULE_WIDTH = 22
_TENSORS_SHOWN = 8


def memory_section(rank: RankReport, hardware: Accelerator, style: Style) -> list[str]:
    """One rank's memory: verdict, where the peak was, what was alive then by category, module and tensor."""
    title = style.bold(f"Memory of rank {rank.record.rank}")
    memory = rank.memory
    if memory.peak_block is None:
        return [title, "no device memory was allocated"]
    peak = f"peak of {format_bytes(memory.peak_bytes)} in {_place(memory.peak_block)}"
    steps = f"peaks by step: {_step_peaks(memory)}; at the end {format_bytes(memory.final_bytes)}"
    return [
        f"{title}  {_verdict(rank, hardware, style)}",
        *style.wrapped(peak),
        *style.wrapped(steps),
        "",
        f"{style.bold('Alive at the peak')}, by category, by module, and the largest tensors",
        *beside(_categories(memory), _modules(memory), width=style.width),
        "",
        *_tensors(memory, style),
        "",
        *(style.dim(line) for line in style.wrapped(f"Memory is what is {COUNTED}. Not counted: {NOT_COUNTED}.")),
    ]


def _verdict(rank: RankReport, hardware: Accelerator, style: Style) -> str:
    """`fits: 31.2 GiB of 79.1 GiB, 47.9 GiB to spare`, or how much it is over. A failed rank might have needed more."""
    fit = rank.fit
    of = f"{format_bytes(fit.peak_bytes)} of {format_bytes(fit.usable_bytes)} ({hardware})"
    if not fit.fits:
        return style.red(f"DOES NOT FIT: {of}, {format_bytes(-fit.headroom_bytes)} over")
    until = " until it failed" if rank.record.failure else ""
    return style.green(f"fits{until}: {of}, {format_bytes(fit.headroom_bytes)} to spare")


def _place(block: MemoryBlock) -> str:
    where = f", at {block.call_site}" if block.call_site else ""
    module = f", {block.module}" if block.module else ""
    return f"step {block.step}, {block.phase}{module}{where}"


def _step_peaks(memory: MemoryFootprint) -> str:
    """The peak of each step, runs of equal ones together: `30.1 GiB (step 0), 31.2 GiB (steps 1-3)`."""
    parts: list[str] = []
    peaks = memory.per_step_peak_bytes
    start = 0
    for step, peak in enumerate(peaks):
        if step + 1 == len(peaks) or peaks[step + 1] != peak:
            name = f"step {step}" if start == step else f"steps {start}-{step}"
            parts.append(f"{format_bytes(peak)} ({name})")
            start = step + 1
    if memory.unfinished_step_peak_bytes is not None:
        after = f"after step {len(peaks) - 1}" if peaks else "no step completed"
        parts.append(f"{format_bytes(memory.unfinished_step_peak_bytes)} ({after})")
    return ", ".join(parts)


def _categories(memory: MemoryFootprint) -> list[str]:
    columns = [Column("category"), Column("bytes", "right"), Column("", "right")]
    totals = by_category(memory.alive_at_peak)
    rows = [
        [category, format_bytes(totals[category]), _percent(totals[category], memory.peak_bytes)]
        for category in sorted(totals, key=lambda category: -totals[category])
        if totals[category]
    ]
    return Grid(columns, rows).lines()


def _modules(memory: MemoryFootprint) -> list[str]:
    columns = [Column("module"), Column("", "right"), Column("bytes", "right"), Column("", "right"), Column("mostly")]
    rows = [
        [
            clip_module(_module(share.module), _MODULE_WIDTH),
            f"x {share.instances}" if share.instances > 1 else "",
            format_bytes(share.nbytes),
            _percent(share.nbytes, memory.peak_bytes),
            share.largest_category,
        ]
        for share in by_module(memory.alive_at_peak)[:_MODULES_SHOWN]
    ]
    return Grid(columns, rows).lines()


def _tensors(memory: MemoryFootprint, style: Style) -> list[str]:
    columns = [
        Column("tensor", clip=clip_end, at_least=28),
        Column("", "right"),
        Column("bytes", "right"),
        Column("category"),
        Column("module", clip=clip_module, at_least=18, dispensable=1),
        Column("made at", clip=clip_place, at_least=16),
    ]
    groups = by_tensor(memory.alive_at_peak)
    rows = [
        [
            f"{group.dtype}[{','.join(map(str, group.shape))}]",
            f"x {group.count}" if group.count > 1 else "",
            format_bytes(group.nbytes),
            group.category,
            _module(group.module),
            group.call_site or "-",
        ]
        for group in groups[:_TENSORS_SHOWN]
    ]
    rest = groups[_TENSORS_SHOWN:]
    more = [["and smaller ones", f"x {sum(group.count for group in rest)}", format_bytes(sum(group.nbytes for group in rest)), "", "", ""]]
    return Grid(columns, rows + (more if rest else [])).fitted(style.width).lines()


def _module(name: str | None) -> str:
    if name is None:
        return "(outside modules)"
    return name or "(root)"


def _percent(part: int, whole: int) -> str:
    """`42 %`; what is there but rounds to nothing is `<1 %`."""
    return f"{100 * part / whole:.0f} %" if 200 * part > whole else "<1 %"
