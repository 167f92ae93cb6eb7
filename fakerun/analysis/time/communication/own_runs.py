"""The user's own runs of nccl-tests, put before what others published: as they are where they fit a call, else as a correction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log

from fakerun.analysis.time.communication.curves import Estimate, seconds_at
from fakerun.analysis.time.communication.placement import Placement, domain_of
from fakerun.analysis.time.costs import Basis
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.collective_times import CollectiveKind
from fakerun.hardware.nccl_tests_output import NcclTestsRun

Published = Callable[[float, Placement, bool], Estimate | None]
"""What is said without own measurements of so many bytes among ranks that are placed so, and whether a switch may reduce them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRun:
    """One measurement: `points` are (bytes, seconds), ascending, as nccl-tests counts bytes."""

    kind: CollectiveKind
    where: Placement
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRuns:
    """All that the user measured. It holds for the interconnect that it was measured on, which nccl-tests does not print."""

    runs: tuple[OwnRun, ...]

    def estimate(
        self, kind: CollectiveKind, nbytes: float, where: Placement, published: Published, *, may_multicast: bool
    ) -> Estimate | None:
        """The time of a call by the run that is placed most alike; None if there is none of the operation inside or between nodes.

        A run among ranks that are placed as the call's, and of sizes around the call's, is taken as it is. From any other the factor
        is taken by which it differs from what is published of that run, at the size nearest to the call's. nccl-tests sums floats, so
        that its all-reduces are by the switch.
        """
        alike = [run for run in self.runs if run.kind is kind and (run.where.nodes == 1) == (where.nodes == 1)]
        if not alike:
            return None
        run = min(alike, key=lambda run: (run.where != where, _distance(run.where, where)))
        nearest = min(max(nbytes, run.points[0][0]), run.points[-1][0])
        measured = seconds_at(run.points, nearest, limit_bytes_per_s=1.0)
        if run.where == where and nearest == nbytes and (may_multicast or kind is not CollectiveKind.ALL_REDUCE):
            return Estimate(seconds=measured.seconds, basis=Basis.CALIBRATED)
        said, there = published(nbytes, where, may_multicast), published(nearest, run.where, True)
        if said is None or there is None:
            return None
        return said.scaled(measured.seconds / there.seconds, Basis.EXTRAPOLATED)


def _distance(one: Placement, other: Placement) -> float:
    """How unlike two placements are: by factors in the number of nodes, and of ranks."""
    return abs(log(one.nodes / other.nodes)) + abs(log(one.ranks / other.ranks))


def own_runs_of(runs: Sequence[NcclTestsRun], accelerator: Accelerator, ranks_per_node: int) -> OwnRuns:
    """What runs of nccl-tests on `accelerator` say; several runs of one operation with equal placement are averaged."""
    own: dict[tuple[CollectiveKind, Placement], list[NcclTestsRun]] = {}
    for run in runs:
        own.setdefault((run.kind, _placement(run, accelerator, ranks_per_node)), []).append(run)
    return OwnRuns(runs=tuple(OwnRun(kind=kind, where=where, points=_mean_points(each)) for (kind, where), each in own.items()))


def _placement(run: NcclTestsRun, accelerator: Accelerator, ranks_per_node: int) -> Placement:
    """Where the run's ranks were: on its hosts, as evenly as may be. Hosts that NVLink joins are one node."""
    on_host = -(-run.ranks // run.hosts) if run.hosts else ranks_per_node
    nodes = -(-run.ranks // (on_host * domain_of(accelerator, ranks_per_node).hosts))
    return Placement(ranks=run.ranks, nodes=nodes, ranks_on_node=-(-run.ranks // nodes))


def _mean_points(runs: Sequence[NcclTestsRun]) -> tuple[tuple[int, float], ...]:
    """The geometric mean of the runs' times at each size that any of them has."""
    seconds: dict[int, list[float]] = {}
    for run in runs:
        for nbytes, each in run.points:
            seconds.setdefault(nbytes, []).append(log(each))
    return tuple((nbytes, exp(sum(each) / len(each))) for nbytes, each in sorted(seconds.items()))
