"""Placeholders for unknown values, as documented: float 1.0, int 1, bool False; in a check of the program, what lets it pass."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from fakerun.syntax.checks import Wanted, wanted
from fakerun.syntax.frames import program_frames
from fakerun.syntax.places import Place

_CALLERS = 12
"""How many calls a value is followed through, from the read to the check."""


def placeholder_value(dtype: torch.dtype) -> Any:
    """The placeholder for an unknown value of this dtype."""
    if dtype is torch.bool:
        return False
    return 1.0 if dtype.is_floating_point or dtype.is_complex else 1


class Checks:
    """The checks that the program makes of values that it reads."""

    def __init__(self) -> None:
        self._elsewhere: set[tuple[Place, ...]] = set()
        """Where no check follows: most reads are of a loop that logs, and the text of the program need not be followed again."""

    def passing_value(self, dtype: torch.dtype, assumed: Any) -> Any:
        """The value of this dtype with which the check that the program is making passes: the assumed one, if it does.

        None if the program makes no check, or no such value is found.
        """
        frames = program_frames(_CALLERS)
        places = tuple(map(Place.of, frames))
        if places in self._elsewhere:
            return None
        needed = wanted(frames)
        if needed is None:
            self._elsewhere.add(places)
            return None
        return next(filter(needed.holds, _candidates(dtype, assumed, needed)), None)


def _candidates(dtype: torch.dtype, assumed: Any, needed: Wanted) -> Iterator[Any]:
    """Values to try: the assumed one, and those at which truth, or the comparison, changes."""
    yield assumed
    if dtype is torch.bool:
        yield not assumed
        return
    as_dtype = float if dtype.is_floating_point or dtype.is_complex else int
    yield as_dtype(0)
    if needed.comparison is not None and math.isfinite(needed.comparison.other):
        other = as_dtype(needed.comparison.other)
        yield from (other, other + 1, other - 1, 2 * other, other / 2 if as_dtype is float else other // 2)


def placeholder_tensor(like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A real host tensor of placeholders: the shape of `like`, its dtype or the one given."""
    dtype = dtype or like.dtype
    return torch.full(like.shape, placeholder_value(dtype), dtype=dtype, device="cpu")
