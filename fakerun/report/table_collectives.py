"""The table report's view of communication: sums by group, operation and dtype, or every call in order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.traffic import GroupTraffic, StepVolumes, Traffic, TrafficRow, Volume
from fakerun.records.collective import CollectiveRecord
from fakerun.report.grid import Column, Grid, Row
from fakerun.report.model import RankReport
from fakerun.report.style import Style, clip_end, clip_module, clip_place
from fakerun.units import format_bytes, format_ranks

_GROUP_WIDTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The columns for one step, or for what came after the last."""

    heading: str
    volume: Callable[[StepVolumes], Volume]
    has_wire: bool = True
    is_dispensable: bool = False

    def columns(self) -> list[Column]:
        first, second = (1, 2) if self.is_dispensable else (0, 0)
        wire = [Column("on wire", "right")] if self.has_wire else []
        return [Column("calls", "right", dispensable=first), Column(f"{self.heading}\nbytes", "right", dispensable=second), *wire]

    def cells(self, volumes: StepVolumes) -> list[str]:
        volume = self.volume(volumes)
        wire = [_bytes(volume.bus_bytes)] if self.has_wire else []
        return [str(volume.calls or "-"), _bytes(volume.nbytes), *wire]


def collectives_section(rank: RankReport, style: Style) -> list[str]:
    """Calls and bytes of each group, by operation and dtype: one set of columns if all steps are alike, else of the first and last step."""
    traffic = rank.traffic
    title = style.bold(f"Collectives of rank {rank.record.rank}")
    if not traffic.rows:
        return [title, "none"]
    spans = _spans(traffic)
    shown = [row for row in traffic.rows if any(span.volume(row.volumes).calls for span in spans)]
    others = [f"{row.op} {row.dtype} on {_group(row)}" for row in traffic.rows if row not in shown]
    grid = Grid(
        [Column("group, operation", clip=clip_end, at_least=24), Column("dtype"), *(column for span in spans for column in span.columns())],
        list(_rows(rank, shown, spans)),
        [["all", "", *_cells(traffic.total, spans)]] if len(traffic.groups) > 1 else [],
    )
    return [
        f"{title}, {_scope(traffic)}",
        *grid.fitted(style.width).lines(),
        *(style.wrapped(f"in other steps only: {', '.join(others)}") if others else []),
    ]


def _rows(rank: RankReport, shown: Sequence[TrafficRow], spans: Sequence[_Span]) -> Iterator[Row]:
    """A line for each group, and under it one for each operation on the group."""
    ranks = {_group(record): format_ranks(record.group_ranks) for record in rank.record.collectives}
    for group in rank.traffic.groups:
        name = _group(group)
        rows = [row for row in shown if _group(row) == name]
        if rows:
            yield [clip_end(f"{name}: ranks {ranks[name]}", _GROUP_WIDTH), "", *_cells(group.volumes, spans)]
        for row in rows:
            yield [f"  {row.op}", row.dtype or "-", *_cells(row.volumes, spans)]


def _cells(volumes: StepVolumes, spans: Sequence[_Span]) -> list[str]:
    return [cell for span in spans for cell in span.cells(volumes)]


def _scope(traffic: Traffic) -> str:
    """Says which steps the columns stand for."""
    last = traffic.steps - 1
    if traffic.steps == 0:
        return "no step completed"
    if last == 0:
        return "step 0"
    if traffic.steps_alike:
        return f"each step (0 to {last} are alike)"
    return f"steps 0 and {last}" + (f" of {traffic.steps}" if last > 1 else "")


def _spans(traffic: Traffic) -> list[_Span]:
    last = traffic.steps - 1
    spans: list[_Span] = []
    if last > 0 and not traffic.steps_alike:
        spans.append(_Span(heading="step 0", volume=lambda volumes: volumes.per_step[0], has_wire=False, is_dispensable=True))
    if last >= 0:
        heading = "each step" if last and traffic.steps_alike else f"step {last}"
        spans.append(_Span(heading=heading, volume=lambda volumes: volumes.per_step[-1]))
    if traffic.total.after.calls:
        heading = f"after step {last}" if last >= 0 else "so far"
        spans.append(_Span(heading=heading, volume=lambda volumes: volumes.after, has_wire=last < 0))
    return spans


def trace_section(rank: RankReport, style: Style) -> list[str]:
    """Every call of the rank in order; in a narrow terminal, without some of its columns."""
    title = style.bold(f"Every collective call of rank {rank.record.rank}, in order")
    if not rank.record.collectives:
        return [title, "none"]
    columns = [
        Column("seq", "right"),
        Column("step", "right"),
        Column("phase", dispensable=2),
        Column("op"),
        Column("group", clip=clip_end, at_least=10),
        Column("dtype"),
        Column("in -> out", clip=clip_end, at_least=20, dispensable=3),
        Column("bytes", "right"),
        Column("module", clip=clip_module, at_least=16, dispensable=1),
        Column("call site", clip=clip_place, at_least=22),
    ]
    whole = Grid(columns, [*map(_trace_row, rank.record.collectives)])
    grid = whole.fitted(style.trace_width)
    left_out = [column.heading for column in columns if column.heading not in {kept.heading for kept in grid.columns}]
    note = f"left out for want of room: {', '.join(left_out)} (a wider terminal, a file or a pipe has all)" if left_out else ""
    return [title, *map(style.dim, style.wrapped(note)), *grid.lines()]


def _trace_row(record: CollectiveRecord) -> list[str]:
    return [
        str(record.seq),
        str(record.step),
        record.phase,
        record.op,
        _group(record),
        record.dtype or "-",
        f"{_sizes(record.input_sizes)} -> {_sizes(record.output_sizes)}",
        _bytes(record.nbytes),
        record.module or "-",
        record.call_site or "-",
    ]


def _sizes(sizes: tuple[tuple[int, ...], ...]) -> str:
    """`[4096,128]` for one tensor, `8 x [4096,128]` for eight alike, `[4096,128] + 7 more` otherwise."""
    if not sizes:
        return "-"
    first = f"[{','.join(map(str, sizes[0]))}]"
    if len(sizes) == 1:
        return first
    return f"{len(sizes)} x {first}" if len(set(sizes)) == 1 else f"{first} + {len(sizes) - 1} more"


def _group(of: CollectiveRecord | TrafficRow | GroupTraffic) -> str:
    return f"{of.group} ({of.group_size})"


def _bytes(nbytes: int) -> str:
    return format_bytes(nbytes) if nbytes else "-"
