"""The timeline part of a Report: what traces and pictures of a step show, from a step that was played."""

from fakerun.analysis.time.step_time import StepTime
from fakerun.analysis.time.timeline import RankTimeline, Timeline
from fakerun.analysis.time.timeline.inputs import operation_inputs
from fakerun.analysis.time.timeline.memory_over_step import memory_over_step
from fakerun.analysis.time.timeline.occupancy import shown_classes, step_occupancy
from fakerun.job.spec import JobSpec
from fakerun.report.model import ShownClass, StepTimeline, TracedRank

_COLUMNS = 330
"""Of the picture: two pixels each where it is drawn."""

MOST_CLASSES = 16
"""Of ranks, in the picture."""


def step_timeline(job: JobSpec, timeline: Timeline, step: StepTime) -> StepTimeline:
    """The details of the step that `step` sums up."""
    ranks = {rank.representative: _traced(job, rank, timeline.step) for rank in timeline.ranks}
    shown = shown_classes(timeline, MOST_CLASSES)
    window = min(rank.begin_s for rank in shown), max(rank.end_s for rank in shown)
    return StepTimeline(
        timeline=timeline,
        ranks=tuple(ranks.values()),
        slowest=ranks[timeline.slowest.representative],
        step=step,
        shown=tuple(ShownClass(timeline=rank, occupancy=step_occupancy(rank, _COLUMNS, window)) for rank in shown),
    )


def _traced(job: JobSpec, rank: RankTimeline, step: int) -> TracedRank:
    return TracedRank(
        timeline=rank,
        inputs=tuple(map(operation_inputs, rank.program.operations)),
        memory=memory_over_step(job, rank, step),
    )
