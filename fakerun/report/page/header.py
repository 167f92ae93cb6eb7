"""The head of the page: which program, on what, and what of it was simulated."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fakerun.report.model import RankReport, Report
from fakerun.report.page.blocks import Fact, Facts
from fakerun.units import format_ranks, name_ranks

if TYPE_CHECKING:
    from fakerun.call_site import CallSite

_LONGEST_LIST = 24
"""Characters of a list of simulated ranks; a longer one is counted instead."""

_SHOWN_STOPS = 3
"""Places where ranks were stopped."""


def title(report: Report) -> str:
    """The version, and the program with its arguments."""
    return f"fakerun {report.fakerun_version}  {' '.join((report.job.program, *report.job.args))}"


def header_facts(report: Report) -> Facts:
    """The job's hardware and mesh; which ranks were simulated, for how many steps, with which torch; where they were stopped."""
    job = report.job
    nodes = f"{job.nnodes} node{'s' * (job.nnodes > 1)} x {job.nproc_per_node}"
    return Facts(
        facts=(
            Fact(
                label="hardware",
                values=(f"{job.world_size} x {job.hardware} ({nodes})", *((job.timing.interconnect,) if job.timing.interconnect else ())),
            ),
            Fact(label="mesh", values=(str(report.mesh or "none"),)),
            Fact(label="simulated", values=(_simulated(report.ranks), _steps(report), _torch(report))),
            *_stopped(report.ranks),
        )
    )


def _torch(report: Report) -> str:
    behaviour = report.job.torch_behaviour
    return f"torch {report.torch_version or 'unknown'}" + (f" behaving as {behaviour}" if behaviour else "")


def axes_text(axes: Mapping[str, int]) -> str:
    """`dp=2,tp=4`: sizes of a mesh or a coordinate on it."""
    return ",".join(f"{axis}={number}" for axis, number in axes.items())


def _simulated(ranks: Sequence[RankReport]) -> str:
    numbers = format_ranks(rank.record.rank for rank in ranks)
    if len(ranks) != 1:
        return (f"ranks {numbers}" if numbers else "no rank") if len(numbers) <= _LONGEST_LIST else f"{len(ranks)} ranks"
    coordinate = ranks[0].coordinate
    return f"rank {numbers}" + (f" ({axes_text(coordinate)})" if coordinate else "")


def _steps(report: Report) -> str:
    fewest, most = report.steps_completed
    asked = most if report.job.steps is None else report.job.steps
    done = str(most) if fewest == most else f"{fewest}-{most}"
    if fewest >= asked or report.job.steps is None:
        return f"{done} step{'s' * (most != 1)}"
    return f"{done} of {asked} step{'s' * (asked != 1)}"


def _stopped(ranks: Sequence[RankReport]) -> Iterator[Fact]:
    """Where the step limit stopped ranks; what they would have done next was not looked at."""
    stops: dict[tuple[CallSite, int], list[int]] = {}
    for rank in ranks:
        if rank.record.stopped_at is not None:
            stops.setdefault((rank.record.stopped_at, rank.record.steps), []).append(rank.record.rank)
    if not stops:
        return
    is_every_rank = len(stops) == 1 and len(next(iter(stops.values()))) == len(ranks)
    places = [
        f"after step {steps - 1} at {site}" + ("" if is_every_rank else f" ({name_ranks(stopped)})")
        for (site, steps), stopped in stops.items()
    ]
    more = [f"and {len(places) - _SHOWN_STOPS} others"] if len(places) > _SHOWN_STOPS else []
    yield Fact(label="stopped", values=(*places[:_SHOWN_STOPS], *more, "what follows was not checked (--steps all)"))
