"""A page of a picture: its ground, the name of the program, and a line about whose picture it is."""

from collections.abc import Iterable, Sequence

from fakerun.printable import printable
from fakerun.report.formats.svg import theme
from fakerun.report.formats.svg.element import box, element, text, title
from fakerun.report.model import Report

WIDTH = 1120
_LONGEST_TITLE = 110


def page(report: Report, what: str, about: Sequence[str], drawn: Iterable[str], *, height: float) -> str:
    """`what` the picture is of, for readers that show no pictures; `about` whom it is, before the hardware."""
    program = _program(report)
    facts = (*about, f"{report.job.world_size} x {report.job.hardware}", f"torch {report.torch_version or 'unknown'}")
    parts = (
        title(f"{what} of {program}"),
        element("style", theme.DARK),
        box(0, 0, WIDTH, height, **theme.GROUND),
        text(program, 16, 30, font_size=16, font_weight="600", **theme.INK),
        text(", ".join(facts), 16, 51, **theme.MUTED),
        *drawn,
    )
    return (
        element(
            "svg",
            *(f"\n{part}" for part in parts),
            "\n",
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {WIDTH} {height}",
            width=WIDTH,
            height=height,
            font_family=theme.FONT,
            font_size=12,
            role="img",
        )
        + "\n"
    )


def _program(report: Report) -> str:
    words = printable(" ".join((report.job.program, *report.job.args))).replace("\n", " ")
    return words if len(words) <= _LONGEST_TITLE else f"{words[: _LONGEST_TITLE - 1]}\u2026"
