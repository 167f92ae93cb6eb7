"""The step time of a run: its costs on the job's accelerator, played, and what published runs of its kind say of the sum."""

from collections.abc import Sequence
from dataclasses import dataclass

from fakerun.analysis.time.communication.call_costs import CallCosts
from fakerun.analysis.time.communication.own_runs import own_runs_of
from fakerun.analysis.time.estimate import NoEstimate, StepEstimate, estimate_of, flops_of
from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.operations import OperationCosts
from fakerun.analysis.time.operations.async_tensor_parallel import with_overlapped_products
from fakerun.analysis.time.operations.fusion import with_fused_programs
from fakerun.analysis.time.operations.measured_products import MeasuredProducts
from fakerun.analysis.time.operations.operations_of_step import operations_of_step
from fakerun.analysis.time.published_error import published_constant, published_error, published_runs
from fakerun.analysis.time.run_kind import run_kind
from fakerun.analysis.time.step_time import StepTime, step_time
from fakerun.analysis.time.timeline import NoTimeline, Prices, Timeline, player_of
from fakerun.analysis.time.utilisation import Tokens, tokens_of_step
from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.calibration import NO_CALIBRATION, Calibration
from fakerun.hardware.interconnects import with_interconnect
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.run import RankRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedStep:
    """A step that was played with these costs, and what its times add up to."""

    timeline: Timeline
    summed: StepTime
    operations: MeasuredProducts
    accelerator: Accelerator
    """The job's, with the interconnect that was asked for."""


def played_step(job: JobSpec, simulated: Sequence[RankRecord], assumed: Sequence[RankRecord]) -> PlayedStep | NoEstimate:
    """The last step that all ranks completed; `assumed` are records of ranks that were not simulated."""
    fabric = job.timing.interconnect
    accelerator = job.hardware if fabric is None else with_interconnect(job.hardware, fabric)
    return step_played_on(accelerator, job.nproc_per_node, simulated, assumed, job.timing.calibration)


def step_played_on(
    accelerator: Accelerator,
    ranks_per_node: int,
    simulated: Sequence[RankRecord],
    assumed: Sequence[RankRecord],
    calibration: Calibration = NO_CALIBRATION,
) -> PlayedStep | NoEstimate:
    """As `played_step`, on this accelerator; what was measured for the `calibration` goes before what is published.

    Compiled functions are played as the kernels that the compiler would make of them.
    """
    if not any(record.program.operations for record in simulated):
        return NoEstimate("no operation on a device is recorded")
    compiled = with_fused_programs(with_overlapped_products([*simulated, *assumed]))
    simulated, assumed = compiled[: len(simulated)], compiled[len(simulated) :]
    try:
        operations = MeasuredProducts(OperationCosts.in_step(accelerator, operations_of_step(simulated)).of, calibration.products)
    except UsageError as error:
        return NoEstimate(str(error))
    own = own_runs_of(calibration.collectives, accelerator, ranks_per_node) if calibration.collectives else None
    prices = Prices(
        operations=operations,
        calls=CallCosts(accelerator, ranks_per_node, own=own),
        host=HostTimes(),
        multiprocessors=accelerator.multiprocessors,
        ranks_per_node=ranks_per_node,
    )
    player = player_of(simulated, assumed, prices)
    if isinstance(player, NoTimeline):
        return NoEstimate(player.reason)
    timeline, summed = step_time(player)
    return PlayedStep(timeline=timeline, summed=summed, operations=operations, accelerator=accelerator)


def step_estimate(
    job: JobSpec, simulated: Sequence[RankRecord], mesh: Mesh | None, played: PlayedStep | NoEstimate
) -> StepEstimate | NoEstimate:
    """The time of the step that was played; `simulated` are the records of the run."""
    if isinstance(played, NoEstimate):
        return played
    flops = flops_of(played.timeline, played.operations.of)
    recorded = tokens_of_step(simulated, mesh, job.world_size)
    if recorded.count is None:  # a model of any size, or none of language: published runs of large ones say nothing of it
        published = None
    else:
        published = published_error(run_kind(simulated, played.accelerator, flops.model * job.world_size / recorded.count))
    return estimate_of(
        played.timeline,
        played.summed,
        constant=published_constant(published_runs()),
        published=published,
        measured_s=job.timing.calibration.step_s,
        flops=flops,
        tokens=_tokens(job, recorded),
        accelerator=played.accelerator,
        world_size=job.world_size,
        ranks_per_node=job.nproc_per_node,
    )


def _tokens(job: JobSpec, recorded: Tokens) -> Tokens:
    asked = job.timing.tokens_per_step
    return recorded if asked is None else Tokens(count=asked, origin="tokens per step as given", recorded=recorded.count)
