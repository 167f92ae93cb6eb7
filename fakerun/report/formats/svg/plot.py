"""The plot: what is reserved and allocated over the program, with its axes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from fakerun.records.collective import Phase
from fakerun.report.formats.svg import theme
from fakerun.report.formats.svg.element import box, element, line, number, stairs, text, title
from fakerun.report.model import LAYERS, MemoryCurve

_UNITS = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024), ("B", 1))
_TICKS = 7
_STRIP = 12
_NARROWEST_STEP = 44
"""Pixels for the number of a step."""
_WIDTH_OF_A_LETTER = 6.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Where it is on the page, in pixels, and what its axes reach to: entries of the history, and bytes."""

    left: float
    top: float
    width: float
    height: float
    entries: int
    most_bytes: float

    def x(self, entry: float) -> float:
        return self.left + self.width * entry / self.entries

    def y(self, nbytes: float) -> float:
        return self.top + self.height * (1 - nbytes / self.most_bytes)

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def right(self) -> float:
        return self.left + self.width


def bytes_axis(plot: Plot) -> Iterator[str]:
    """Lines at round numbers of a binary unit."""
    unit, size = next((unit, size) for unit, size in _UNITS if plot.most_bytes >= 2 * size or size == 1)
    count = plot.most_bytes / size
    step = next(step for power in range(19) for step in (10**power, 2 * 10**power, 5 * 10**power) if count / step <= _TICKS)
    for amount in range(0, int(count) + 1, step):
        y = plot.y(amount * size)
        yield line(plot.left, y, plot.right, y, **theme.GRID)
        yield text(f"{amount} {unit}" if amount else "0", plot.left - 8, y + 4, text_anchor="end", **theme.MUTED)


def areas(plot: Plot, curve: MemoryCurve) -> Iterator[str]:
    """Each from its top to the bottom of the plot; the next one is drawn over it."""
    reserved = _top(plot, curve, [point.reserved_bytes for point in curve.points])
    yield _area(plot, reserved, "reserved, not allocated", **theme.CACHED)
    tops = [tuple(accumulate(point.layers)) for point in curve.points]
    for index in reversed(range(len(LAYERS))):
        if any(point.layers[index] for point in curve.points):
            top = _top(plot, curve, [sums[index] for sums in tops])
            yield _area(plot, top, LAYERS[index], fill=theme.LAYER_COLORS[LAYERS[index]])
    yield element("path", d=reserved, stroke_width=1.2, **theme.RULE)


def _top(plot: Plot, curve: MemoryCurve, levels: Sequence[int]) -> str:
    """What there is after an entry is there until the next one."""
    corners = [(plot.x(point.entry), plot.y(nbytes)) for point, nbytes in zip(curve.points, levels, strict=True)]
    return stairs((plot.left, plot.bottom), corners, plot.right)


def _area(plot: Plot, top: str, name: str, **attributes: str) -> str:
    return element("path", title(name), d=f"{top}V{number(plot.bottom)}Z", **attributes)


def program_axis(plot: Plot, curve: MemoryCurve) -> Iterator[str]:
    """Below the plot the phases and the steps; the end of each is a line through the plot, if they are not too narrow."""
    yield from _phases(plot, curve)
    spans = tuple(pairwise((0, *curve.step_ends)))
    is_wide = all(plot.width * (end - start) / curve.entries >= _NARROWEST_STEP for start, end in spans)
    every = 1 if is_wide else -(-len(spans) * _NARROWEST_STEP // int(plot.width))
    for step, (start, end) in enumerate(spans):
        top = plot.top if is_wide else plot.bottom
        yield line(plot.x(end), top, plot.x(end), plot.bottom + _STRIP + 12, stroke_dasharray="3 3", **theme.RULE)
        if step % every == 0:
            name = _step(step, curve) if is_wide or step == 0 else str(step)
            yield text(name, plot.x((start + end) / 2), plot.bottom + _STRIP + 24, text_anchor="middle", **theme.INK)


def _step(step: int, curve: MemoryCurve) -> str:
    return f"step {step}" if step < curve.simulated_steps else f"step {curve.simulated_steps - 1} again"


def _phases(plot: Plot, curve: MemoryCurve) -> Iterator[str]:
    """A strip; runs of one phase are joined, and of phases in the same pixel the last one counts."""
    y = plot.bottom + 6
    for start, end, phase in _runs(plot, curve):
        label = text(phase, (start + end) / 2, y + 10, text_anchor="middle", font_size=10, **theme.INK)
        fits = end - start >= _WIDTH_OF_A_LETTER * len(phase)
        yield box(start, y, end - start, _STRIP, title(phase), opacity=f"{theme.PHASE_OPACITY[phase]}", **theme.INK)
        if fits and theme.PHASE_OPACITY[phase] < 0.5:
            yield label
        elif fits:
            yield text(phase, (start + end) / 2, y + 10, text_anchor="middle", font_size=10, **theme.GROUND)


def _runs(plot: Plot, curve: MemoryCurve) -> Iterator[tuple[float, float, Phase]]:
    """From where to where a phase lasts, in whole pixels."""
    starts: dict[int, Phase] = {0: Phase.OTHER}
    for entry, phase in curve.phases:
        starts[round(plot.x(entry) - plot.left)] = phase
    runs: list[tuple[int, Phase]] = []
    for start, phase in sorted(starts.items(), key=lambda item: item[0]):
        if not runs or runs[-1][1] is not phase:
            runs.append((start, phase))
    for (start, phase), (end, _) in pairwise((*runs, (round(plot.width), Phase.OTHER))):
        if end > start:
            yield plot.left + start, plot.left + end, phase
