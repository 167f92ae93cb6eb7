"""The section on many ranks: a line for each class of ranks with the same behaviour, the least headroom first."""

from collections.abc import Sequence

from fakerun.report.model import ClassReport, Report
from fakerun.report.page.blocks import Clip, Column, Prose, Row, Section, Table
from fakerun.report.page.failures import verdict
from fakerun.units import format_bytes, format_ranks

_SHOWN = 16


def ranks_section(report: Report) -> Section:
    """A line for each class. Calls and bus bytes are those of its last completed step."""
    classes = sorted(report.classes, key=lambda each: (each.headroom_bytes, -_peak_bytes(each)))
    columns = (
        Column(heading="ranks", clip=Clip.KEEP_START, min_width=9),
        Column(heading="count", align="right", priority=2),
        *((Column(heading="position", clip=Clip.KEEP_START, min_width=12, priority=5),) if report.mesh else ()),
        Column(heading="status"),
        Column(heading="reserved", span="peak", align="right"),
        Column(heading="allocated", span="peak", align="right", priority=6),
        Column(heading="in", span="peak", priority=1),
        Column(heading="headroom", align="right"),
        Column(heading="calls", span="last step", align="right", priority=3),
        Column(heading="bus bytes", span="last step", align="right", priority=4),
    )
    table = Table(columns=columns, rows=tuple(_row(each) for each in classes[:_SHOWN]), note=_rest(classes[_SHOWN:]))
    return Section(title="Ranks", remark=Prose(text=_counts(report)), blocks=(table,))


def _counts(report: Report) -> str:
    """`12 of 2048 simulated, 2030 assumed to match them, 6 unknown; 5 distinct behaviours`."""
    assumed = sum(len(each.assumed) for each in report.classes)
    unknown = report.job.world_size - len(report.ranks) - assumed if report.job.auto_ranks else 0
    match = f", {assumed} assumed to match them" if assumed else ""
    match += f", {unknown} unknown" if unknown else ""
    same = "all that were simulated behave the same" if match else "all behave the same"
    behaviours = f"{len(report.classes)} distinct behaviours" if len(report.classes) > 1 else same
    return f"{len(report.ranks)} of {report.job.world_size} simulated{match}; {behaviours}"


def _row(each: ClassReport) -> Row:
    report = each.example
    device = report.largest_device
    block = device.footprint.peak_block
    ranks = each.ranks
    return Row(
        cells=(
            format_ranks(ranks),
            str(len(ranks)),
            *((each.mesh_box,) if each.mesh_box else ()),
            _status(each),
            format_bytes(device.reserved.peak_bytes),
            format_bytes(device.footprint.peak_bytes),
            f"step {device.footprint.peak_step}, {block.phase}" if block else "-",
            format_bytes(each.headroom_bytes),
            str(each.last_step.calls),
            format_bytes(each.last_step.bus_bytes),
        )
    )


def _status(each: ClassReport) -> str:
    """`ok`, `FAILED`, `BLOCKED`; with the number of ranks of which this is only assumed."""
    status = verdict(each.example.record)
    return f"{status} ({len(each.assumed)} assumed)" if each.assumed else status


def _rest(classes: Sequence[ClassReport]) -> str:
    if not classes:
        return ""
    count = sum(len(each.ranks) for each in classes)
    peaks = [_peak_bytes(each) for each in classes]
    return f"and {len(classes)} more with {count} ranks, peaks from {format_bytes(max(peaks))} to {format_bytes(min(peaks))}"


def _peak_bytes(each: ClassReport) -> int:
    return each.example.largest_device.reserved.peak_bytes
