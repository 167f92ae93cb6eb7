"""Tolerances: how much a quantity may differ from the baseline, in either direction, before it is a difference."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """A share of the old value, or bytes; `text` is how it was written."""

    text: str
    share: float = 0.0
    nbytes: int = 0

    def allows(self, old: int, new: int, *, of: int | None = None) -> bool:
        """Whether the new value may stand for the old one; `of` is what the share is of, if not of the old value."""
        return abs(new - old) <= max(self.nbytes, self.share * (old if of is None else of))


EXACT = Tolerance(text="exact")
_ONE_PERCENT = Tolerance(text="1%", share=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """By quantity. The calls and their order are always exact.

    `allocated` and `reserved` are of the peaks; `categories` and `modules` of what a category or a module holds at the peak, as a share of
    the whole peak; `parameters` of the parameters of a module; `messages` of the size of a communication call.
    """

    allocated: Tolerance = _ONE_PERCENT
    reserved: Tolerance = _ONE_PERCENT
    categories: Tolerance = _ONE_PERCENT
    modules: Tolerance = _ONE_PERCENT
    parameters: Tolerance = _ONE_PERCENT
    messages: Tolerance = EXACT


DEFAULT_TOLERANCES = Tolerances()
