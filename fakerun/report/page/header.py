"""The head of the page: which program, on what, and what of it was simulated."""

from collections.abc import Mapping, Sequence

from fakerun.report.model import RankReport, Report
from fakerun.report.page.blocks import Fact, Facts
from fakerun.units import format_ranks

_LONGEST_LIST = 24
"""Characters of a list of simulated ranks; a longer one is counted instead."""


def title(report: Report) -> str:
    """The version, and the program with its arguments."""
    return f"fakerun {report.fakerun_version}  {' '.join((report.job.program, *report.job.args))}"


def header_facts(report: Report) -> Facts:
    """The job's hardware and mesh; which ranks were simulated, for how many steps, with which torch."""
    job = report.job
    nodes = f"{job.nnodes} node{'s' * (job.nnodes > 1)} x {job.nproc_per_node}"
    return Facts(
        facts=(
            Fact(label="hardware", values=(f"{job.world_size} x {job.hardware} ({nodes})",)),
            Fact(label="mesh", values=(str(report.mesh or "none"),)),
            Fact(label="simulated", values=(_simulated(report.ranks), _steps(report), f"torch {report.torch_version or 'unknown'}")),
        )
    )


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
    asked = f"{report.job.steps} step{'s' * (report.job.steps != 1)}"
    if fewest == most == report.job.steps:
        return asked
    return f"{fewest} of {asked}" if fewest == most else f"{fewest}-{most} of {asked}"
