"""The legend: what each colour is for, and how much of it there is at the peak of what is allocated."""

from collections.abc import Iterator

from fakerun.records.collective import Phase
from fakerun.report.formats.svg import theme
from fakerun.report.formats.svg.element import box, text
from fakerun.report.model import LAYERS, MemoryCurve
from fakerun.units import format_bytes

_ROW = 20
_SWATCH = 11


def drawn(curve: MemoryCurve, left: float, top: float, right: float) -> Iterator[str]:
    """In the order of the areas, the highest first."""
    peak = curve.allocated_peak.point
    yield text("at the allocated peak", left, top, font_weight="600", **theme.INK)
    shown = [index for index in reversed(range(len(LAYERS))) if any(point.layers[index] for point in curve.points)]
    rows = [
        ("reserved, not allocated", peak.reserved_bytes - peak.allocated_bytes, theme.CACHED),
        *((LAYERS[index], peak.layers[index], {"fill": theme.LAYER_COLORS[LAYERS[index]]}) for index in shown),
    ]
    y = top
    for name, nbytes, style in rows:
        y += _ROW
        yield box(left, y - _SWATCH + 1, _SWATCH, _SWATCH, **style)
        yield text(name.replace("_", " "), left + 18, y, **theme.INK)
        yield text(format_bytes(nbytes) if nbytes else "-", right, y, text_anchor="end", **theme.MUTED)
    y += 2 * _ROW
    yield text("phases", left, y, font_weight="600", **theme.INK)
    for phase in Phase:
        y += _ROW
        yield box(left, y - _SWATCH + 1, _SWATCH, _SWATCH, opacity=f"{theme.PHASE_OPACITY[phase]}", **theme.INK)
        yield text(phase, left + 18, y, **theme.INK)
