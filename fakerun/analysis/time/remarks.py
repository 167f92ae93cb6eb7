"""What else to know of an estimated step time: in sentences, where it matters."""

from collections.abc import Iterator

from fakerun.analysis.time.costs import Basis
from fakerun.analysis.time.operations import recurrent
from fakerun.analysis.time.step_time import StepTime, TimeKind
from fakerun.analysis.time.timeline import RankTimeline, Timeline
from fakerun.analysis.time.unknown_calls import host_calls
from fakerun.analysis.time.utilisation import Utilisation
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import Opcode
from fakerun.records.finding_code import FindingCode
from fakerun.units import format_seconds, format_share, join_words

_WORTH_SAYING = 0.05
"""The share of a step from which on something is said of it."""

ROOFLINE_ERROR = 0.2
"""What is added to either side of the error for a card of which products were not measured.

Of the products that were measured on a B200, which is the card that differs most, one in ten is farther from a flat share of the peak.
"""

MOST_UNTABLED = 0.5
"""The share of the time of products and attention that may be from rates before the error is taken to be larger."""

_MOST_HOST = 0.5
"""The share of a step from which on it is mostly the host's."""

_MOST_APART = 1.5
"""The factor by which tokens as given may differ from those that models are given: padding, or tokens that the loss leaves out."""


def remarks_on_given(used: Utilisation, accelerator: Accelerator, timeline: Timeline, *, is_measured: bool) -> Iterator[str]:
    """Where what the user gave does not go together with what was recorded."""
    tokens = used.tokens
    if tokens.count and tokens.recorded and not 1 / _MOST_APART < tokens.count / tokens.recorded < _MOST_APART:
        yield (
            f"the {tokens.count:,} tokens a step as given are {tokens.count / tokens.recorded:.3g} times the {tokens.recorded:,} that the "
            "models are given: --tokens-per-step counts those of all ranks together"
        )
    if is_measured and used.hfu is not None and used.peak_flops is not None:
        rate = used.peak_flops
        if any(operation.name.startswith("aten._scaled") for operation in timeline.slowest.program.operations):
            rate = max(rate, accelerator.float8_flops or 0.0)
        if used.hfu * used.peak_flops > rate:
            yield (
                f"the measured step_s is not possible: the FLOPs of the step take {used.hfu * used.peak_flops / rate:.3g} times as long at "
                "the card's peak rate; it must be of this job and this card, and in seconds"
            )


def _operations_of_least_cost(rank: RankTimeline) -> tuple[str, ...]:
    """The operations of a step of which only the bytes that they move are known, by name."""
    found = {
        rank.program.operations[number].name for number in set(rank.operations.operations) if (cost := rank.costs[number]) and cost.is_least
    }
    return tuple(sorted(found))


def _recurrent_seconds(rank: RankTimeline) -> float:
    """Of all recurrent layers of a step."""
    is_recurrent = [each.name.split(".")[1] in recurrent.OPERATORS for each in rank.program.operations]
    return sum(cost.seconds for number in rank.operations.operations if is_recurrent[number] and (cost := rank.costs[number]) is not None)


def _captures_graphs(rank: RankTimeline) -> bool:
    """Whether the rank captures CUDA graphs, and replays none in the steps that were simulated."""
    opcodes = {each.opcode for each in rank.program.instructions}
    return Opcode.BEGIN_CAPTURE in opcodes and Opcode.BEGIN_REPLAY not in opcodes


def remarks_on_figures(summed: StepTime, timeline: Timeline, untabled: float) -> Iterator[str]:
    """What else to know of the figures. `untabled` is the share of products and attention that is not from tables of the card."""
    slowest = summed.slowest
    if summed.is_first_step:
        yield "it is the first step, which also has what is done once: --steps 2 estimates a steady one"
    yield from _remarks_on_operations(timeline, untabled)
    yield from _remarks_on_calls(summed, timeline)
    if summed.unknown_members:
        groups = join_words(summed.unknown_members)
        yield f"other ranks of {groups} were not simulated, and are taken to arrive in time; --ranks auto simulates what is needed"
    if summed.joins_programs:
        yield "to save time, ranks that issue the same calls are played alike, as the one that does most besides"
    if slowest.kinds[TimeKind.HOST] > _WORTH_SAYING * summed.seconds:
        share = format_share(slowest.kinds[TimeKind.HOST], summed.seconds)
        yield f"for {share} of the step the devices wait for the host, whose times are assumed and differ from machine to machine"
    if slowest.kinds[TimeKind.HOST] > _MOST_HOST * summed.seconds and _captures_graphs(timeline.slowest):
        yield "CUDA graphs are captured, but no later replay of them was simulated: more --steps estimate a step of replays"


def _remarks_on_operations(timeline: Timeline, untabled: float) -> Iterator[str]:
    if untabled > MOST_UNTABLED:
        yield (
            f"{format_share(untabled, 1.0)} of the time of matrix products and attention is not in the tables of this card, but from "
            f"its rates or from another card, and may be {100 * ROOFLINE_ERROR:.0f} % farther off"
        )
    if (recurrent_s := _recurrent_seconds(timeline.slowest)) > _WORTH_SAYING * timeline.slowest.seconds:
        low, high = (format_seconds(bound * recurrent_s) for bound in recurrent.RANGE)
        yield (
            f"recurrent layers are estimated as {format_seconds(recurrent_s)} of cuDNN's kernels, the steps of each layer one after the "
            f"other; they may take {low} to {high}, which is assumed"
        )
    if of_least := _operations_of_least_cost(timeline.slowest):
        yield f"of {join_words(of_least)} only the bytes that they move are known: they may take longer"


def _remarks_on_calls(summed: StepTime, timeline: Timeline) -> Iterator[str]:
    slowest = summed.slowest
    if any(each.code is FindingCode.NOT_OVERLAPPED for each in timeline.slowest.record.findings):
        yield (
            "async tensor parallelism is estimated as products in parts beside their communication, where torch.compile makes it: 8 to 16 %"
            " shorter in six published runs that were 4 to 14 % shorter; fused operators that the script calls itself have no overlap here"
        )
    call_s, extrapolated_s = sum(slowest.call_basis_s.values()), slowest.call_basis_s.get(Basis.EXTRAPOLATED, 0.0)
    if extrapolated_s > _WORTH_SAYING * summed.seconds:
        yield f"{format_share(extrapolated_s, call_s)} of the time of communication is extrapolated beyond what was measured"
    if Basis.UNKNOWN in slowest.call_basis_s:
        yield "the cost of some communication is not known, and counts as 0 s; between nodes --interconnect tells it"
    if calls := host_calls(timeline.slowest, timeline.step):
        yield f"communication on the host (gloo), {calls} to a step, has no known cost and counts as 0 s"
