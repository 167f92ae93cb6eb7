"""The timeline part of a Report: what traces and pictures of a step show, from a step that was played."""

from fakerun.analysis.time.step_time import StepTime
from fakerun.analysis.time.timeline import RankTimeline, Timeline
from fakerun.analysis.time.timeline.allocated import allocated_over_step
from fakerun.analysis.time.timeline.inputs import operation_inputs
from fakerun.analysis.time.timeline.occupancy import step_occupancy
from fakerun.report.model import StepTimeline, TracedRank

_COLUMNS = 330
"""Of the picture: two pixels each where it is drawn."""


def step_timeline(timeline: Timeline, step: StepTime) -> StepTimeline:
    """The details of the step that `step` sums up."""
    ranks = {rank.representative: _traced(rank, timeline.step) for rank in timeline.ranks}
    slowest = timeline.slowest
    return StepTimeline(
        timeline=timeline,
        ranks=tuple(ranks.values()),
        slowest=ranks[slowest.representative],
        step=step,
        occupancy=step_occupancy(slowest, _COLUMNS),
    )


def _traced(rank: RankTimeline, step: int) -> TracedRank:
    return TracedRank(
        timeline=rank,
        inputs=tuple(map(operation_inputs, rank.program.operations)),
        allocated=allocated_over_step(rank, step),
    )
