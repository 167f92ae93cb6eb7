"""Curves of time over size between devices of one node, as measured: log-log interpolated, and continued by the link's best rate."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log

from fakerun.analysis.time.costs import Basis
from fakerun.hardware.collective_times import CollectiveKind, TimeCurve, bus_share

FEWEST_POINTS = 4
"""A measurement of fewer sizes gives a rate of large messages and no curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A time in seconds and what it is taken from."""

    seconds: float
    basis: Basis

    def scaled(self, factor: float, basis: Basis | None = None) -> "Estimate":
        """The time times `factor`; taken from `basis`, unless that is better than what it was taken from."""
        return Estimate(seconds=self.seconds * factor, basis=self.basis if basis is None else worse(self.basis, basis))


def worse(*bases: Basis) -> Basis:
    """The least trustworthy of some."""
    return max(bases, key=list(Basis).index)


def seconds_at(points: Sequence[tuple[int, float]], nbytes: float, limit_bytes_per_s: float) -> Estimate:
    """The time of a message by measured (bytes, seconds), ascending.

    Below the first size it is the time of that one: a small message costs its latency. Above the last one the rest of the message
    moves at `limit_bytes_per_s`. A larger message never takes less time than a smaller one: where measurements say so, the larger time
    of the two counts.
    """
    sizes = [size for size, _ in points]
    times = list(accumulate((seconds for _, seconds in points), max))
    if nbytes <= sizes[0]:
        return Estimate(seconds=times[0], basis=Basis.MEASURED if nbytes == sizes[0] else Basis.EXTRAPOLATED)
    if nbytes > sizes[-1]:
        return Estimate(seconds=times[-1] + (nbytes - sizes[-1]) / limit_bytes_per_s, basis=Basis.EXTRAPOLATED)
    above = bisect_right(sizes, nbytes)
    if sizes[above - 1] == nbytes:
        return Estimate(seconds=times[above - 1], basis=Basis.MEASURED)
    share = log(nbytes / sizes[above - 1]) / log(sizes[above] / sizes[above - 1])
    return Estimate(seconds=_between(times[above - 1], times[above], share), basis=Basis.INTERPOLATED)


def _between(low: float, high: float, share: float) -> float:
    return exp((1 - share) * log(low) + share * log(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCurves:
    """The curves, at least one, of one operation inside a node, of all who measured it over one kind of link, by number of devices.

    `ring_bytes_per_s` is the most that the links showed in any operation that works like a ring: where large messages tend to.
    """

    kind: CollectiveKind
    curves: tuple[TimeCurve, ...]
    ring_bytes_per_s: float

    @property
    def measured_ranks(self) -> list[int]:
        """Of how many devices there are curves, ascending."""
        return sorted({curve.ranks for curve in self.curves if len(curve.points) >= FEWEST_POINTS})

    def estimate(self, nbytes: float, ranks: int) -> Estimate:
        """The time among `ranks` devices.

        Between two numbers of devices that were measured it is interpolated, beyond them it is scaled by the bus factor.
        """
        measured = self.measured_ranks
        nearest = min(measured, key=lambda each: abs(log(each / ranks)))
        below, above = (max((n for n in measured if n <= ranks), default=None), min((n for n in measured if n >= ranks), default=None))
        if below is None or above is None:
            return self._among(nbytes, nearest).scaled(bus_share(self.kind, ranks) / bus_share(self.kind, nearest), Basis.EXTRAPOLATED)
        if below == above:
            return self._among(nbytes, ranks)
        low, high = self._among(nbytes, below), self._among(nbytes, above)
        share = log(ranks / below) / log(above / below)
        return Estimate(seconds=_between(low.seconds, high.seconds, share), basis=worse(low.basis, high.basis, Basis.INTERPOLATED))

    def _among(self, nbytes: float, ranks: int) -> Estimate:
        """The geometric mean of those who measured so many devices; the curves that do not reach are continued, for it to have no jumps."""
        curves = [curve for curve in self.curves if curve.ranks == ranks and len(curve.points) >= FEWEST_POINTS]
        limit = max(self.ring_bytes_per_s, best_bus_rate(curve for curve in self.curves if curve.ranks == ranks))
        each = [seconds_at(curve.points, nbytes, limit / bus_share(self.kind, ranks)) for curve in curves]
        mean = exp(sum(log(estimate.seconds) for estimate in each) / len(each))
        return Estimate(seconds=mean, basis=min((estimate.basis for estimate in each), key=list(Basis).index))


def best_bus_rate(curves: Iterable[TimeCurve]) -> float:
    """The highest rate that the links showed at any size, in bytes per second: where large messages tend to."""
    return max(nbytes * bus_share(curve.kind, curve.ranks) / seconds for curve in curves for nbytes, seconds in curve.points)
