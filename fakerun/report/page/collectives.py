"""The section on one rank's communication: calls and bytes by group, operation and dtype."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.traffic import GroupTraffic, StepVolumes, Traffic, TrafficRow, Volume
from fakerun.report.model import RankReport
from fakerun.report.page.blocks import ESSENTIAL, Clip, Column, Prose, Row, Section, Table
from fakerun.units import format_bytes, format_ranks

_GROUP_WIDTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _BusBytes:
    """A column of bus bytes, all of them or those on one kind of link."""

    heading: str
    of: Callable[[Volume], int]
    priority: int = ESSENTIAL


_ON_ONE_NODE = (_BusBytes(heading="bus bytes", of=lambda volume: volume.bus_bytes),)
_ON_SEVERAL_NODES = (
    _BusBytes(heading="bus bytes", of=lambda volume: volume.bus_bytes),
    _BusBytes(heading="intra-node", of=lambda volume: volume.intra_node_bytes, priority=3),
    _BusBytes(heading="inter-node", of=lambda volume: volume.inter_node_bytes),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The columns for one step, or for what came after the last."""

    heading: str
    volume: Callable[[StepVolumes], Volume]
    bus_bytes: tuple[_BusBytes, ...] = ()
    can_go: bool = False

    def columns(self) -> list[Column]:
        first, second = (1, 2) if self.can_go else (4, 5)
        return [
            Column(heading="calls", span=self.heading, align="right", priority=first),
            Column(heading="bytes", span=self.heading, align="right", priority=second),
            *(Column(heading=each.heading, span=self.heading, align="right", priority=each.priority) for each in self.bus_bytes),
        ]

    def cells(self, volumes: StepVolumes) -> list[str]:
        volume = self.volume(volumes)
        return [
            str(volume.calls or "-"),
            bytes_or_dash(volume.nbytes),
            *(bytes_or_dash(each.of(volume)) for each in self.bus_bytes),
        ]


def collectives_section(rank: RankReport, *, nnodes: int) -> Section:
    """One set of columns if all steps are identical, else of the first and the last step; on several nodes, what crosses between them."""
    traffic = rank.traffic
    title = f"Collectives of rank {rank.record.rank}"
    if not traffic.rows:
        return Section(title=title, blocks=(Prose(text="none"),))
    spans = _spans(traffic, _ON_SEVERAL_NODES if nnodes > 1 else _ON_ONE_NODE)
    shown = [row for row in traffic.rows if any(span.volume(row.volumes).calls for span in spans)]
    others = [f"{row.op} {row.dtype} on {group_text(row)}" for row in traffic.rows if row not in shown]
    table = Table(
        columns=(
            Column(heading="group, operation", clip=Clip.KEEP_START, min_width=24, max_width=_GROUP_WIDTH),
            Column(heading="dtype"),
            *(column for span in spans for column in span.columns()),
        ),
        rows=tuple(_rows(traffic, shown, spans)),
        totals=(Row(cells=("total", "", *_cells(traffic.total, spans))),) if len(traffic.groups) > 1 else (),
        note=f"in other steps only: {', '.join(others)}" if others else "",
    )
    return Section(title=title, remark=Prose(text=_scope(traffic)), blocks=(table,))


def _rows(traffic: Traffic, shown: Sequence[TrafficRow], spans: Sequence[_Span]) -> Iterator[Row]:
    """A line for each group, and under it one for each operation on the group."""
    for group in traffic.groups:
        name = group_text(group)
        rows = [row for row in shown if (row.group, row.group_ranks) == (group.group, group.group_ranks)]
        if rows:
            ranks = format_ranks(group.group_ranks).removesuffix(f" ({group.group_size} ranks)")  # the name has the number already
            yield Row(cells=(f"{name}: rank{'s' * (group.group_size > 1)} {ranks}", "", *_cells(group.volumes, spans)))
        for row in rows:
            yield Row(cells=(row.op, row.dtype or "-", *_cells(row.volumes, spans)), level=1)


def _cells(volumes: StepVolumes, spans: Sequence[_Span]) -> list[str]:
    return [cell for span in spans for cell in span.cells(volumes)]


def _scope(traffic: Traffic) -> str:
    """Which steps the columns stand for."""
    last = traffic.steps - 1
    if traffic.steps == 0:
        return "no step completed"
    if last == 0:
        return "step 0"
    if traffic.steps_are_equal:
        return f"each step (steps 0 to {last} are identical)"
    return f"steps 0 and {last}" + (f" of {traffic.steps}" if last > 1 else "")


def _spans(traffic: Traffic, bus_bytes: tuple[_BusBytes, ...]) -> list[_Span]:
    last = traffic.steps - 1
    spans: list[_Span] = []
    if last > 0 and not traffic.steps_are_equal:
        spans.append(_Span(heading="step 0", volume=lambda volumes: volumes.per_step[0], can_go=True))
    if last >= 0:
        heading = "each step" if last and traffic.steps_are_equal else f"step {last}"
        spans.append(_Span(heading=heading, volume=lambda volumes: volumes.per_step[-1], bus_bytes=bus_bytes))
    if traffic.total.after.calls:
        heading = f"after step {last}" if last >= 0 else "so far"
        spans.append(_Span(heading=heading, volume=lambda volumes: volumes.after, bus_bytes=bus_bytes if last < 0 else ()))
    return spans


def group_text(of: TrafficRow | GroupTraffic) -> str:
    """`dp (4)`: the name of the group and its size; a group without a name is a plain `group`, distinguished by its ranks."""
    return f"{of.group or 'group'} ({of.group_size})"


def bytes_or_dash(nbytes: int) -> str:
    """Nothing is a dash."""
    return format_bytes(nbytes) if nbytes else "-"
