"""A picture of one device's memory over the program: what is reserved, what is allocated of it for what, the peaks and the limit.

`plot` draws the curve and its axes, `marks` the peaks and the limit, `legend` the names of colours. `page` makes a page of a picture,
`theme` has the colours, `element` writes the XML: `step`, the other picture, has them from here.
"""

from collections.abc import Iterator

from fakerun.report.formats.svg import legend, marks, plot, theme
from fakerun.report.formats.svg.element import text
from fakerun.report.formats.svg.page import WIDTH, page
from fakerun.report.model import MemoryCurve, RankReport, Report
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.header import axes_text

_HEIGHT = 560
_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 76, 112, 780, 372


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """Of the device with the highest peak of the rank to show."""
    rank = report.largest
    about = () if rank is None else tuple(_rank(rank, report))
    return page(report, "Device memory", about, _body(report), height=_HEIGHT)


def _body(report: Report) -> Iterator[str]:
    curve = report.needed_history.curve
    if curve is None:
        yield text("no device memory was allocated", WIDTH / 2, _HEIGHT / 2, text_anchor="middle", **theme.MUTED)
        return
    yield from _drawn(curve, report.job.hardware.usable_bytes, str(report.job.hardware))
    yield from legend.drawn(curve, _LEFT + _PLOT_WIDTH + 28, _TOP + 8, WIDTH - 16)


def _drawn(curve: MemoryCurve, limit_bytes: int, limit_name: str) -> Iterator[str]:
    area = plot.Plot(
        left=_LEFT,
        top=_TOP,
        width=_PLOT_WIDTH,
        height=_PLOT_HEIGHT,
        entries=curve.entries,
        most_bytes=marks.most_bytes(curve, limit_bytes),
    )
    yield from plot.bytes_axis(area)
    yield from plot.areas(area, curve)
    yield from plot.program_axis(area, curve)
    yield from marks.limit(area, limit_bytes, limit_name)
    yield from marks.peaks(area, curve)
    what = f"{curve.entries} actions of the caching allocator, in the order of the program"
    yield text(what, _LEFT, _TOP + _PLOT_HEIGHT + 62, font_size=11, **theme.MUTED)


def _rank(rank: RankReport, report: Report) -> Iterator[str]:
    """Which rank, where it is on the mesh, and which device of its."""
    coordinate = f" ({axes_text(rank.coordinate)})" if rank.coordinate else ""
    yield f"rank {rank.record.rank}{coordinate}"
    history = report.needed_history
    if history.cuda_index is not None:
        yield f"cuda:{history.cuda_index}"
        settings = history.devices[history.cuda_index].settings.text
        if settings:
            yield settings
    if rank.record.failure is not None:
        yield f"failed in step {rank.record.steps}"
