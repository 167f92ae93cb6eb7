"""The table report's view of many ranks: a line for each class of ranks that do the same, the highest memory first."""

from fakerun.analysis.classes import RankClass
from fakerun.analysis.grid import Grid as RankGrid
from fakerun.report.grid import Column, Grid
from fakerun.report.model import RankReport, Report
from fakerun.report.style import Style, clip_end
from fakerun.units import format_bytes, format_ranks

_SHOWN = 16


def ranks_section(report: Report, style: Style) -> list[str]:
    """A line for each class. Calls and bytes on the wire are those of its last completed step."""
    reports = {rank.record.rank: rank for rank in report.ranks}
    classes = sorted(report.classes, key=lambda each: -reports[each.simulated[0]].memory.peak_bytes)
    columns = [
        Column("ranks", clip=clip_end, at_least=9),
        Column("", "right"),
        Column("at", clip=clip_end, at_least=18),
        Column("status"),
        Column("peak allocated", "right"),
        Column("to spare", "right"),
        Column("peak in", dispensable=1),
        Column("calls", "right"),
        Column("on wire", "right"),
    ]
    rows = [_row(each, reports[each.simulated[0]], report) for each in classes[:_SHOWN]]
    return [
        *style.wrapped(f"{style.bold('Ranks')}  {_counts(report)}; calls are those of the last step"),
        *Grid(columns, rows).fitted(style.width).lines(),
        *_rest([reports[each.simulated[0]] for each in classes[_SHOWN:]], classes[_SHOWN:]),
    ]


def _counts(report: Report) -> str:
    """`25 simulated and 16359 assumed, in 17 classes of ranks that do the same`."""
    assumed = sum(len(each.assumed) for each in report.classes)
    numbers = f"{len(report.ranks)} simulated" + (f" and {assumed} assumed to be like them" if assumed else "")
    if len(report.classes) == 1:
        return f"{numbers}, which all do the same"
    return f"{numbers}, in {len(report.classes)} classes of ranks that do the same"


def _row(of: RankClass, rank: RankReport, report: Report) -> list[str]:
    block = rank.memory.peak_block
    last_step = rank.traffic.total.per_step[-1] if rank.traffic.steps else rank.traffic.total.after
    ranks = of.ranks
    return [
        format_ranks(ranks),
        f"x {len(ranks)}" if len(ranks) > 1 else "",
        RankGrid(report.mesh).box(ranks) if report.mesh else "-",
        "ok" if rank.record.failure is None else "FAILED",
        format_bytes(rank.memory.peak_bytes),
        format_bytes(rank.fit.headroom_bytes),
        f"step {block.step}, {block.phase}" if block else "-",
        str(last_step.calls),
        format_bytes(last_step.bus_bytes),
    ]


def _rest(ranks: list[RankReport], classes: list[RankClass]) -> list[str]:
    if not ranks:
        return []
    count = sum(len(each.ranks) for each in classes)
    peaks = [format_bytes(rank.memory.peak_bytes) for rank in (ranks[0], ranks[-1])]
    return [f"and {len(classes)} more classes of {count} ranks, with peaks from {peaks[0]} to {peaks[1]}"]
