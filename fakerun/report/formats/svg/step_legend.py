"""The legend of the picture of a step: the colours, what the step is spent on, and communication by axis, each in seconds."""

from collections.abc import Iterator

from fakerun.report.formats.svg import theme
from fakerun.report.formats.svg.element import box, text
from fakerun.report.model import Layer, RankStepTime, StepOccupancy
from fakerun.units import format_seconds, format_share

_ROW, _SWATCH = 19, 11
_SECONDS = 64
"""Pixels from the right edge to the end of the seconds, where a share follows them."""
_LABELS = 4
"""Axes of which the communication is shown, those with most exposed time first."""


def drawn(occupancy: StepOccupancy, step: RankStepTime, left: float, top: float, right: float) -> Iterator[str]:
    """Seconds of a colour are those of all rows together; what the step is spent on adds up to the step."""
    rows = _Rows(left, top, right)
    yield from rows.heading("colours", "seconds of all rows")
    for layer in Layer:
        if seconds := occupancy.layer_s[layer]:
            yield from rows.row(layer, format_seconds(seconds), fill=theme.STEP_COLORS[layer])
    yield from rows.heading("the step", format_seconds(step.seconds))
    for kind, seconds in step.kinds.items():
        if seconds:
            yield from rows.row(kind, format_seconds(seconds), format_share(seconds, step.seconds))
    if step.communication:
        yield from rows.heading("communication", "exposed of all")
    for axis in step.communication[:_LABELS]:
        yield from rows.row(axis.label, f"{format_seconds(axis.exposed_s)} of {format_seconds(axis.seconds)}")
    if (more := len(step.communication) - _LABELS) > 0:
        yield from rows.row(f"and {more} other{'s' * (more > 1)}", "")


class _Rows:
    """Rows of text, one below the other."""

    def __init__(self, left: float, top: float, right: float) -> None:
        self._left, self._y, self._right = left, top - 1.4 * _ROW, right

    def heading(self, name: str, value: str) -> Iterator[str]:
        self._y += 1.4 * _ROW
        yield text(name, self._left, self._y, font_weight="600", **theme.INK)
        yield text(value, self._right, self._y, text_anchor="end", **theme.MUTED)

    def row(self, name: str, value: str, share: str = "", *, fill: str = "") -> Iterator[str]:
        self._y += _ROW
        if fill:
            yield box(self._left, self._y - _SWATCH + 1, _SWATCH, _SWATCH, fill=fill)
        yield text(name, self._left + (18 if fill else 0), self._y, **theme.INK)
        yield text(value, self._right - (_SECONDS - 18 if share else 0), self._y, text_anchor="end", **theme.MUTED)
        if share:
            yield text(share, self._right, self._y, text_anchor="end", **theme.MUTED)
