"""A step time with figures that are easy to follow: two ranks, of which the first computes longer and the second waits for it."""

from dataclasses import replace
from typing import Any

from fakerun.analysis.time.estimate import StepEstimate, estimate_of
from fakerun.analysis.time.published_error import PublishedError, PublishedRun, RunKind
from fakerun.analysis.time.utilisation import StepFlops, Tokens
from fakerun.records.collective import Phase
from tests.unit.records_by_hand import H100
from tests.unit.steps_by_hand import RankByHand, played

HOPPER = RunKind(generation=9)


def published(*shares: float, constant: float = 0.8, same_generation: bool = True) -> PublishedError:
    """Of runs of which so much is explained."""
    runs = tuple(
        PublishedRun(id=str(share), kind=HOPPER, hardware="h100", published_s=1.0, predicted_s=share, gives_constant=False, source="there")
        for share in shares
    )
    ratios = [constant / share for share in shares]
    return PublishedError(constant=constant, low=min(1.0, *ratios), high=max(1.0, *ratios), runs=runs, same_generation=same_generation)


def rank(number: int, seconds: float, steps: int = 2) -> RankByHand:
    """Steps of forward, backward with a reduction over dp that nothing hides, and optimizer."""
    made = RankByHand(number)
    for _ in range(steps):
        for phase, share in ((Phase.FORWARD, 0.3), (Phase.BACKWARD, 0.6)):
            made.phase(phase)
            for layer in range(2):
                made.op(share * seconds / 2, name="aten.mm.default", module=f"layers.{layer}")
        made.call(1)
        made.phase(Phase.OPTIMIZER)
        made.op(0.1 * seconds, name="aten._foreach_add_.List")
        made.end_step()
    return made


def estimate(of: PublishedError | None = None, measured_s: float | None = None, steps: int = 2, **fields: Any) -> StepEstimate:
    """A step of 5 s: 4 s of kernels on rank 0, and 1 s of communication; rank 1 waits for a part of it."""
    timeline, summed = played(rank(0, 4.0, steps), rank(1, 2.0, steps))
    given = {
        "constant": of and of.constant,
        "flops": StepFlops(model=2e12, executed=3e12),
        "tokens": Tokens(count=1000, origin="as given"),
        "accelerator": replace(H100, bfloat16_flops=1e12),
        "world_size": 2,
        **fields,
    }
    return estimate_of(timeline, summed, published=of, measured_s=measured_s, **given)
