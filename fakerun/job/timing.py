"""Timing: what the step time of a run is estimated with, beside its accelerator. What ranks do does not depend on it."""

import re
from dataclasses import dataclass

from fakerun.errors import UsageError
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration

_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`tokens_per_step` are those of all ranks; None takes them from what models are given."""

    tokens_per_step: int | None = None
    calibration: Calibration = NO_CALIBRATION


def parse_tokens(value: object) -> int:
    """The tokens of a step, as text or as a number.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", text) or int(text) < 1:
        raise UsageError(f"tokens per step {value!r}: must be a whole number from 1 on, of all ranks together")
    return int(text)
