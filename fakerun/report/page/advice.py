"""The section on what would lower the peak of a device that does not fit."""

from collections.abc import Iterator

from fakerun.report.model import AdviceReport, DeviceMemory
from fakerun.report.page.blocks import Clip, Column, Prose, Row, Section, Table
from fakerun.units import format_bytes


def advice_sections(device: DeviceMemory) -> Iterator[Section]:
    """What would help, most first, and how to do it; nothing if there is no advice."""
    if not device.advice:
        return
    columns = (
        Column(heading="", align="right"),
        Column(heading="change", clip=Clip.KEEP_START, min_width=28),
        Column(heading="saves", align="right"),
        Column(heading="reserved", align="right"),
        Column(heading="verdict"),
    )
    yield Section(
        title="What would help",
        remark=Prose(text="each change is replayed with the allocator"),
        blocks=(
            Table(columns=columns, rows=tuple(_row(number, each) for number, each in enumerate(device.advice, 1))),
            *(Prose(text=f"{number}: {each.advice.how}") for number, each in enumerate(device.advice, 1) if not each.advice.is_several),
        ),
        level=2,
    )


def _row(number: int, report: AdviceReport) -> Row:
    advice = report.advice
    amounts = (format_bytes(advice.saved_bytes), format_bytes(advice.peak_reserved_bytes))
    return Row(cells=("" if advice.is_several else str(number), advice.what, *amounts, report.fit.verdict.words))
