"""Timing: what the step time of a run is estimated with, beside its accelerator. What ranks do does not depend on it."""

import re
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration
from fakerun.hardware.interconnects import parse_interconnect

_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`tokens_per_step` are those of all ranks; None takes them from what models are given.

    `interconnect` is the fabric between nodes, as `NAME` or `NAME,KEY=VALUE,...`; None is that of the accelerator's usual node.
    """

    tokens_per_step: int | None = None
    interconnect: str | None = None
    calibration: Calibration = NO_CALIBRATION

    def over(self, below: "Timing") -> "Timing":
        """This, with `below` where it says nothing."""
        return Timing(
            tokens_per_step=self.tokens_per_step or below.tokens_per_step,
            interconnect=self.interconnect or below.interconnect,
            calibration=self.calibration or below.calibration,
        )


def checked_interconnect(text: str) -> str:
    """The text, which names a fabric.

    Raises:
        UsageError: no such fabric, no such figure of one, or a value that is not possible.
    """
    parse_interconnect(text)
    return text


def parse_tokens(value: object) -> int:
    """The tokens of a step, as text or as a number.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", text) or int(text) < 1:
        raise UsageError(f"tokens per step {value!r}: must be a whole number from 1 on, of all ranks together")
    return int(text)
