"""A picture of one step of each class of ranks: host, streams and communication over time, and what the slowest spends its seconds on.

Each track is a row, filled from below as far as its time is: areas are seconds. The slowest class has the legend and the rows that are
higher; all have one axis of time. `step_legend` has the names of colours with their seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fakerun.records.collective import Phase
from fakerun.report.formats.svg import step_legend, theme
from fakerun.report.formats.svg.element import box, element, line, number, stairs, text, title
from fakerun.report.formats.svg.page import WIDTH, page
from fakerun.report.model import NoEstimate, Report, ShownClass, StepOccupancy, StepTimeline, Track
from fakerun.report.page.detail import SHORT, Detail
from fakerun.report.page.header import axes_text
from fakerun.units import format_ranks, format_seconds

_LEFT, _TOP, _PLOT_WIDTH = 150, 84, 660
_STRIP = 14
_BELOW = 56
"""Under the last group: the axis of time, and a line of text."""
_LEAST_HEIGHT = 460
_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_TICKS = 8
_WIDTH_OF_A_LETTER = 6.5
_LONGEST_NAME = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """How the group of a class is drawn: `above` is for its name, where it is not that of the page, `below` for the strip of phases.

    A row that is nowhere filled as far as `least` is left out.
    """

    height: int
    gap: int
    above: int
    below: int
    least: float
    font_size: int

    def tracks(self, occupancy: StepOccupancy) -> Sequence[Track]:
        return [track for track in occupancy.tracks if max(map(max, track.layers.values()), default=0.0) >= self.least]

    def total(self, occupancy: StepOccupancy) -> int:
        return self.above + len(self.tracks(occupancy)) * (self.height + self.gap) - self.gap + self.below


_SLOWEST = _Rows(height=46, gap=14, above=0, below=_STRIP + 6, least=0.0, font_size=12)
_OTHERS = _Rows(height=18, gap=4, above=42, below=0, least=0.05, font_size=11)


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """Of the classes that a report shows."""
    picture = report.needed_timeline
    if isinstance(picture, NoEstimate):
        message = text(f"no step time: {picture.reason}", WIDTH / 2, _LEAST_HEIGHT / 2, text_anchor="middle", **theme.MUTED)
        return page(report, "A step", (), [message], height=_LEAST_HEIGHT)
    height = max(_LEAST_HEIGHT, _bottom(picture) + _BELOW)
    about = (_name(report, picture.shown[0]), f"step {picture.step.step}")
    return page(report, "A step", about, _drawn(report, picture), height=height)


def _name(report: Report, shown: ShownClass) -> str:
    rank, mesh = shown.timeline, report.mesh
    coordinate = "" if mesh is None else f" ({axes_text(mesh.by_axis(mesh.coordinate(rank.representative)))})"
    alike = f", as ranks {format_ranks(rank.ranks)}" if len(rank.ranks) > 1 else ""
    return f"rank {rank.representative}{coordinate}{alike}"


def _groups(picture: StepTimeline) -> Iterator[tuple[ShownClass, _Rows, int]]:
    """The classes, how each is drawn, and where it begins."""
    top = _TOP
    for shown in picture.shown:
        rows = _SLOWEST if shown is picture.shown[0] else _OTHERS
        yield shown, rows, top
        top += rows.total(shown.occupancy)


def _bottom(picture: StepTimeline) -> int:
    return max(top + rows.total(shown.occupancy) for shown, rows, top in _groups(picture))


def _drawn(report: Report, picture: StepTimeline) -> Iterator[str]:
    slowest, bottom = picture.shown[0], _bottom(picture)
    yield from _time_axis(slowest.occupancy, bottom)
    for shown, rows, top in _groups(picture):
        if rows.above:
            name = f"{_name(report, shown)}: {format_seconds(shown.timeline.seconds)}"
            yield text(name, _LEFT, top + rows.above - 8, font_size=rows.font_size, **theme.LABEL)
        for row, track in enumerate(rows.tracks(shown.occupancy)):
            yield from _track(track, top + rows.above + row * (rows.height + rows.gap), rows)
        if rows.below:
            yield from _phases(shown.occupancy, top + rows.total(shown.occupancy) - _STRIP)
    yield text(_what(picture), _LEFT, bottom + 46, font_size=11, **theme.MUTED)
    yield from step_legend.drawn(slowest.occupancy, picture.step.slowest, _LEFT + _PLOT_WIDTH + 36, _TOP + 4, WIDTH - 16)


def _what(picture: StepTimeline) -> str:
    what = f"{format_seconds(picture.step.seconds)}, estimated; a row is filled as far as its time is, and what is empty is idle"
    left_out = len(picture.ranks) - len(picture.shown)
    return f"{what}; {len(picture.shown)} of {len(picture.ranks)} classes of ranks" if left_out else what


def _track(track: Track, top: float, rows: _Rows) -> Iterator[str]:
    """The name at the left, a frame, and the layers, each from its top to the bottom: the next one is drawn over it."""
    bottom = top + rows.height
    name = track.name if len(track.name) <= _LONGEST_NAME else f"{track.name[: _LONGEST_NAME - 1]}\u2026"
    yield text(name, _LEFT - 10, top + rows.height / 2 + 4, text_anchor="end", font_size=rows.font_size, **theme.INK)
    yield box(_LEFT, top, _PLOT_WIDTH, rows.height, **theme.TRACK)
    layers = [(layer, shares) for layer, shares in track.layers.items() if any(shares)]
    tops = list(accumulate((shares for _, shares in layers), _added))
    for (layer, _), sums in reversed(list(zip(layers, tops, strict=True))):
        width = _PLOT_WIDTH / len(sums)
        corners = [(_LEFT + column * width, bottom - rows.height * min(share, 1)) for column, share in enumerate(sums)]
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
        yield line(x, _TOP - 8, x, bottom + 6, **theme.GRID)
        yield text(f"{amount} {unit}" if amount else "0", x, bottom + 22, text_anchor="middle", **theme.MUTED)


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
