"""Marks in the plot: the two peaks, which may be at different places, and the memory of the device."""

from collections.abc import Iterator

from fakerun.records.memory import MemoryBlock
from fakerun.report.formats.svg import theme
from fakerun.report.formats.svg.element import element, line, text
from fakerun.report.formats.svg.plot import Plot
from fakerun.report.model import MemoryCurve, MemoryPeak
from fakerun.units import format_bytes

_FARTHEST_LIMIT = 2.0
_LINE_HEIGHT = 16


def most_bytes(curve: MemoryCurve, limit_bytes: int) -> float:
    """What the axis of bytes reaches to: the device's memory, unless that is far above the peak."""
    peak = curve.reserved_peak.point.reserved_bytes
    return 1.06 * (max(peak, limit_bytes) if limit_bytes <= _FARTHEST_LIMIT * peak else peak)


def limit(plot: Plot, limit_bytes: int, name: str) -> Iterator[str]:
    """A line at the memory of the device; a line of text if that is above the plot."""
    words = f"{name}: {format_bytes(limit_bytes)}"
    if limit_bytes > plot.most_bytes:
        yield text(f"{words} \u2191", plot.right - 4, plot.top + 14, text_anchor="end", **theme.LIMIT)
        return
    y = plot.y(limit_bytes)
    yield line(plot.left, y, plot.right, y, stroke_width=1.5, stroke_dasharray="8 4", **theme.LIMIT_LINE)
    yield text(words, plot.right - 4, y - 5, text_anchor="end", **theme.LIMIT)


def peaks(plot: Plot, curve: MemoryCurve) -> Iterator[str]:
    """A line from each up to what it is; the label of the one nearer to the edge is above, so that its line does not cross the other."""
    middle = plot.left + plot.width / 2
    marks = [
        (plot.x(curve.allocated_peak.point.entry), "allocated", curve.allocated_peak, curve.allocated_peak.point.allocated_bytes),
        (plot.x(curve.reserved_peak.point.entry), "reserved", curve.reserved_peak, curve.reserved_peak.point.reserved_bytes),
    ]
    labels = []
    for row, (x, kind, peak, nbytes) in enumerate(sorted(marks, key=lambda mark: -abs(mark[0] - middle))):
        y = plot.top - 8 - _LINE_HEIGHT * (1 - row)
        yield line(x, y - 10, x, plot.y(nbytes), **theme.RULE)
        yield element("circle", cx=x, cy=plot.y(nbytes), r=3.5, **theme.INK)
        anchor, shift = ("end", -6) if x > middle else ("start", 6)
        labels.append(text(f"{kind} peak {format_bytes(nbytes)}, {_where(peak)}", x + shift, y, text_anchor=anchor, **theme.LABEL))
    yield from labels


def _where(peak: MemoryPeak) -> str:
    """`step 1, forward, train.py:12`."""
    request = peak.request
    parts = [f"step {request.step}", *([request.phase.value] if request.phase else [])]
    if not isinstance(request.what, MemoryBlock):
        return ", ".join((*parts, request.what.name))
    return ", ".join((*parts, *([str(request.what.call_site)] if request.what.call_site else [])))
