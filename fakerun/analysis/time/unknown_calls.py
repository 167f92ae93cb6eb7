"""Communication calls of a step whose cost is not known and counts as 0 s: those over links that are not known, and those on the host."""

from collections.abc import Iterator

from fakerun.analysis.time.costs import Basis
from fakerun.analysis.time.timeline import RankTimeline, Timeline
from fakerun.records.collective import CollectiveRecord

_WORTH_SAYING = 0.05
"""The share of a step's bytes from which on a step without them is not the whole step."""


def calls_without_cost(timeline: Timeline, ranks_per_node: int | None = None) -> str:
    """What is not in the time of the step, in words; empty if it has all calls, or all but a few bytes.

    Without `ranks_per_node` all ranks are on one node.
    """
    calls = [each for rank in timeline.ranks for each in _calls(rank, timeline.step)]
    unknown = [call for call, is_known in calls if not is_known]
    missed = sum(call.nbytes for call in unknown)
    if not unknown or missed < _WORTH_SAYING * sum(call.nbytes for call, _ in calls):
        return ""
    if all(call.device is None for call in unknown):
        return "communication on the host"
    if ranks_per_node and all(len({rank // ranks_per_node for rank in call.group_ranks}) > 1 for call in unknown):
        return "communication between nodes"
    return "some communication" if len(unknown) < len(calls) else "communication"


def host_calls(rank: RankTimeline, step: int) -> int:
    """How many calls of the step have other ranks and no device."""
    return sum(call.device is None for call, _ in _calls(rank, step))


def _calls(rank: RankTimeline, step: int) -> Iterator[tuple[CollectiveRecord, bool]]:
    """The calls of the step with other ranks, and whether their cost is known."""
    every = rank.record.collectives
    for seq, cost in zip(rank.calls.seqs, rank.calls.costs, strict=True):
        if every[seq].group_size > 1 and every[seq].device is not None:
            yield every[seq], cost.basis is not Basis.UNKNOWN
    for call in every:
        if call.step == step and call.device is None and call.group_size > 1:
            yield call, False
