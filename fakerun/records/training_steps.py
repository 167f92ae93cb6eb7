"""Which training step something belongs to, of which only the number of optimizer steps before it was noted."""

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingSteps:
    """Training steps as they are known at one time: `ends` has for each the number of optimizer steps taken up to its end."""

    ends: tuple[int, ...] = ()

    def of(self, taken: int) -> int:
        """The training step of what happens after `taken` optimizer steps."""
        return bisect_right(self.ends, taken)
