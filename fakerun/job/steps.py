"""For how many optimizer steps a script runs: a number of them, or all that it takes."""

from typing import Final, Literal, TypeAlias

from fakerun.errors import UsageError
from fakerun.units import is_count, why_no_count

AllSteps: TypeAlias = Literal["all"]

ALL_STEPS: Final = "all"
"""The script runs to its end, whatever it does after its last step."""


def parse_steps(text: str) -> int | AllSteps:
    """Steps as the user writes them: `all`, `2`.

    Raises:
        UsageError: the text is neither.
    """
    if text.strip() == ALL_STEPS:
        return ALL_STEPS
    if not is_count(text):
        raise UsageError(f"steps {text!r}: {why_no_count(text, 'must be a whole number of at least 1, or all')}")
    return int(text)
