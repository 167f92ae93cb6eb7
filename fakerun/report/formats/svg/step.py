"""A picture of one step of the slowest ranks: host, streams and communication over time, and what the seconds are spent on.

Each track is a row, filled from below as far as its time is: areas are seconds. `step_legend` has the names of colours with their seconds.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from fakerun.records.collective import Phase
from fakerun.report.formats.svg import step_legend, theme
from fakerun.report.formats.svg.element import box, element, line, number, stairs, text, title
from fakerun.report.formats.svg.page import WIDTH, page
from fakerun.report.model import NoEstimate, Report, StepOccupancy, StepTimeline, Track
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.header import axes_text
from fakerun.units import format_ranks, format_seconds

_LEFT, _TOP, _PLOT_WIDTH = 150, 84, 660
_ROW, _GAP = 46, 14
_STRIP = 14
_BELOW = 96
"""Under the tracks: phases, the axis of time, and a line of text."""
_LEAST_HEIGHT = 460
_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_TICKS = 8
_WIDTH_OF_A_LETTER = 6.5
_LONGEST_NAME = 21


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """Of the class of ranks whose step takes longest."""
    picture = report.needed_timeline
    if isinstance(picture, NoEstimate):
        message = text(f"no step time: {picture.reason}", WIDTH / 2, _LEAST_HEIGHT / 2, text_anchor="middle", **theme.MUTED)
        return page(report, "A step", (), [message], height=_LEAST_HEIGHT)
    height = max(_LEAST_HEIGHT, _bottom(picture.occupancy) + _BELOW)
    return page(report, "A step", tuple(_about(report, picture)), _drawn(picture), height=height)


def _about(report: Report, picture: StepTimeline) -> Iterator[str]:
    step, mesh = picture.step.slowest, report.mesh
    coordinate = "" if mesh is None else f" ({axes_text(mesh.by_axis(mesh.coordinate(step.representative)))})"
    yield f"rank {step.representative}{coordinate}"
    if len(step.ranks) > 1:
        yield f"as ranks {format_ranks(step.ranks)}"
    yield f"step {picture.step.step}"


def _bottom(occupancy: StepOccupancy) -> float:
    return _TOP + len(occupancy.tracks) * (_ROW + _GAP) - _GAP


def _drawn(picture: StepTimeline) -> Iterator[str]:
    occupancy = picture.occupancy
    bottom = _bottom(occupancy)
    yield from _time_axis(occupancy, bottom)
    for row, track in enumerate(occupancy.tracks):
        yield from _track(track, _TOP + row * (_ROW + _GAP))
    yield from _phases(occupancy, bottom + 6)
    what = f"{format_seconds(occupancy.seconds)}, estimated; a row is filled as far as its time is, and what is empty is idle"
    yield text(what, _LEFT, bottom + 76, font_size=11, **theme.MUTED)
    yield from step_legend.drawn(occupancy, picture.step.slowest, _LEFT + _PLOT_WIDTH + 36, _TOP + 4, WIDTH - 16)


def _track(track: Track, top: float) -> Iterator[str]:
    """The name at the left, a frame, and the layers, each from its top to the bottom: the next one is drawn over it."""
    bottom = top + _ROW
    name = track.name if len(track.name) <= _LONGEST_NAME else f"{track.name[: _LONGEST_NAME - 1]}\u2026"
    yield text(name, _LEFT - 10, top + _ROW / 2 + 4, text_anchor="end", **theme.INK)
    yield box(_LEFT, top, _PLOT_WIDTH, _ROW, **theme.TRACK)
    layers = [(layer, shares) for layer, shares in track.layers.items() if any(shares)]
    tops = list(accumulate((shares for _, shares in layers), _added))
    for (layer, _), sums in reversed(list(zip(layers, tops, strict=True))):
        width = _PLOT_WIDTH / len(sums)
        corners = [(_LEFT + column * width, bottom - _ROW * min(share, 1)) for column, share in enumerate(sums)]
        path = f"{stairs((_LEFT, bottom), corners, _LEFT + _PLOT_WIDTH)}V{number(bottom)}Z"
        yield element("path", title(layer), d=path, fill=theme.STEP_COLORS[layer])


def _added(below: Sequence[float], above: Sequence[float]) -> Sequence[float]:
    return [one + other for one, other in zip(below, above, strict=True)]


def _time_axis(occupancy: StepOccupancy, bottom: float) -> Iterator[str]:
    """Lines at round numbers of a unit of time, from the start of the step."""
    unit, size = next((unit, size) for unit, size in _UNITS if occupancy.seconds >= 2 * size or unit == "us")
    count = occupancy.seconds / size
    step = next(step for power in range(10) for step in (10**power, 2 * 10**power, 5 * 10**power) if count / step <= _TICKS)
    for amount in range(0, int(count) + 1, step):
        x = _LEFT + _PLOT_WIDTH * amount / count if count else _LEFT
        yield line(x, _TOP - 8, x, bottom + _STRIP + 12, **theme.GRID)
        yield text(f"{amount} {unit}" if amount else "0", x, bottom + _STRIP + 28, text_anchor="middle", **theme.MUTED)


def _phases(occupancy: StepOccupancy, top: float) -> Iterator[str]:
    """A strip of the phases of the kernels; those that are narrower than a pixel are left out."""
    yield text("phase", _LEFT - 10, top + _STRIP - 3, text_anchor="end", font_size=11, **theme.MUTED)
    scale = _PLOT_WIDTH / occupancy.seconds if occupancy.seconds else 0
    for start, end, phase in occupancy.phases:
        left, right = (_LEFT + scale * (time - occupancy.begin_s) for time in (start, end))
        if right - left < 1:
            continue
        yield box(left, top, right - left, _STRIP, title(phase), opacity=f"{theme.PHASE_OPACITY[phase]}", **theme.INK)
        if right - left >= _WIDTH_OF_A_LETTER * len(phase):
            yield text(phase, (left + right) / 2, top + _STRIP - 3, text_anchor="middle", font_size=10, **_on(phase))


def _on(phase: Phase) -> dict[str, str]:
    """Readable on the strip."""
    return theme.INK if theme.PHASE_OPACITY[phase] < 0.5 else theme.GROUND
