"""Which published runs a job is compared with, and the tokens of its step."""

from dataclasses import replace

import pytest

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.estimate import StepEstimate
from fakerun.analysis.time.operations.measured_products import MeasuredProducts
from fakerun.analysis.time.published_error import RunFeature
from fakerun.job.timing import Timing
from fakerun.records.device_program import Operation
from fakerun.records.run import ModelInput
from fakerun.report.build_time import PlayedStep, step_estimate
from tests.unit.estimates_by_hand import rank
from tests.unit.records_by_hand import H100, job
from tests.unit.steps_by_hand import played


def full_flops(_: Operation) -> OperationCost:
    return OperationCost(kind=OperationKind.MATRIX_PRODUCT, seconds=1.0, basis=Basis.MEASURED, full_flops=10**12)


def estimated(tokens_per_step: int | None) -> StepEstimate:
    """A model with 10^12 FLOPs an operation, of which a rank is given 20 tokens."""
    timeline, summed = played(rank(0, 4.0))
    record = replace(timeline.slowest.record, model_inputs=(ModelInput(step=1, model=0, shape=(2, 10)),), steps=2)
    step = PlayedStep(timeline=timeline, summed=summed, operations=MeasuredProducts(full_flops, ()), accelerator=H100)
    asked = replace(job(nproc_per_node=1), timing=Timing(tokens_per_step=tokens_per_step))
    found = step_estimate(asked, [record], None, step)
    assert isinstance(found, StepEstimate)
    return found


@pytest.mark.parametrize("tokens_per_step", [1, 20, 10**9])
def test_tokens_as_given_do_not_decide_which_runs_are_similar(tokens_per_step: int) -> None:
    recorded, given = estimated(None), estimated(tokens_per_step)
    assert recorded.published is not None
    assert given.published == recorded.published
    assert not any(RunFeature.SMALL in run.kind.features for run in recorded.published.runs)
    tokens = given.utilisation.tokens
    assert (tokens.count, tokens.recorded) == (tokens_per_step, 20)
