"""Streams, hosts, events and communicators, each alone, and two ranks that wait for each other."""

from fakerun.analysis.time.step_time import TimeKind
from tests.unit.steps_by_hand import RankByHand, played


def test_a_stream_adds_up() -> None:
    rank = RankByHand()
    for _ in range(2):
        for seconds in (1, 2, 3):
            rank.op(seconds)
        rank.end_step()
    timeline, step = played(rank)
    (only,) = timeline.ranks
    assert step.seconds == 6
    assert (list(only.operations.starts), list(only.operations.ends)) == ([0, 1, 3], [1, 3, 6])
    assert step.slowest.kinds[TimeKind.COMPUTE] == 6
