"""Contention: kernels of communication occupy multiprocessors, and operations that run at the same time take longer.

`overlapped seconds x multiprocessors of the call / multiprocessors of the card`: where in a first play, without contention, a run of
operations overlaps calls, its operations take longer in the second play by the mean share that the calls occupy. NCCL's kernels occupy 16
to 24 of 132; over published runs this makes 1 to 6 % of a step.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence


def contention_factors(
    windows: Iterable[tuple[float, float]], transfers: Iterable[tuple[float, float, float, str]], free_label: str | None = None
) -> Sequence[float]:
    """How much longer each run takes that ran in one of the `windows`, beside these `transfers` (start, end, share, label)."""
    changes: dict[float, float] = {}
    for start, end, share, label in transfers:
        if label != free_label and end > start:
            changes[start] = changes.get(start, 0.0) + share
            changes[end] = changes.get(end, 0.0) - share
    occupied = _Occupied(changes)
    return [1.0 + occupied.mean(start, end) for start, end in windows]


class _Occupied:
    """The integral over time of the share that is occupied."""

    def __init__(self, changes: dict[float, float]) -> None:
        self._times = sorted(changes)
        self._shares: list[float] = []
        self._integrals: list[float] = []
        share = integral = 0.0
        for index, time in enumerate(self._times):
            if index:
                integral += self._shares[-1] * (time - self._times[index - 1])
            share += changes[time]
            self._shares.append(min(max(share, 0.0), 1.0))
            self._integrals.append(integral)

    def mean(self, start: float, end: float) -> float:
        """The mean share from start to end."""
        return (self._until(end) - self._until(start)) / (end - start) if end > start else 0.0

    def _until(self, time: float) -> float:
        index = bisect_right(self._times, time) - 1
        return 0.0 if index < 0 else self._integrals[index] + self._shares[index] * (time - self._times[index])
