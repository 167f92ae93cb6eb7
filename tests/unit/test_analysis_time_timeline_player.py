"""Streams, hosts, events and communicators, each alone, ranks that wait for each other, and who has no step time."""

from dataclasses import replace

import pytest

from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.step_time import TimeKind
from fakerun.analysis.time.timeline import HOST, NoTimeline, Player, RankTimeline, player_of
from fakerun.analysis.time.timeline.parts import Parts
from fakerun.analysis.time.timeline.played_classes import played_classes
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.device_program import Opcode
from fakerun.records.run import Blocked, FailureKind, ProcessFailure, RankRecord
from tests.unit.steps_by_hand import NO_HOST, VIEW, RankByHand, played, prices


def spans(rank: RankTimeline) -> list[tuple[float, float]]:
    return list(zip(rank.operations.starts, rank.operations.ends, strict=True))


def transfers(rank: RankTimeline) -> list[tuple[float, float, float]]:
    return list(zip(rank.calls.arrived, rank.calls.starts, rank.calls.ends, strict=True))


def only(rank: RankByHand, **fields: object) -> RankTimeline:
    timeline, _ = played(rank, **fields)  # type: ignore[arg-type]
    (found,) = timeline.ranks
    return found


# -- one rank ----------------------------------------------------------------------------------------------------------------------------


def test_a_stream_adds_up() -> None:
    rank = RankByHand()
    for _ in range(2):
        for seconds in (1, 2, 3):
            rank.op(seconds)
        rank.end_step()
    timeline, step = played(rank)
    assert (step.step, step.is_first_step, step.seconds) == (1, False, 6)
    assert spans(timeline.ranks[0]) == [(0, 1), (1, 3), (3, 6)]
    assert step.slowest.kinds[TimeKind.COMPUTE] == 6
    assert (step.slowest.flops, step.slowest.full_flops) == (3, 6)


def test_streams_run_side_by_side_and_an_event_keeps_one_behind_the_other() -> None:
    rank = RankByHand()
    rank.op(5, stream=0)
    event = rank.record_event(0)
    rank.op(1, stream=0)
    rank.op(2, stream=1)
    rank.wait_event(event, 1)
    rank.op(2, stream=1)
    rank.end_step()
    found = only(rank)
    assert spans(found) == [(0, 5), (5, 6), (0, 2), (5, 7)]
    assert found.seconds == 7
    assert list(found.operations.causes) == [HOST, 0, HOST, 0]


def test_a_stream_waits_for_what_another_has_queued_until_then() -> None:
    rank = RankByHand()
    rank.op(5, stream=0)
    rank.wait_stream(0, 1)
    rank.op(3, stream=0)
    rank.op(1, stream=1)
    rank.end_step()
    assert spans(only(rank)) == [(0, 5), (5, 8), (5, 6)]


def test_the_host_issues_and_each_operation_starts_when_it_is_issued() -> None:
    rank = RankByHand()
    rank.op(1)
    rank.op(9, name=VIEW)
    rank.op(1)
    rank.op(5)
    rank.op(1)
    rank.end_step()
    times = HostTimes(operation_s=2, view_s=3, call_s=0, event_s=0, launch_s=0.5, gap_s=0)
    found = only(rank, host=times)
    assert list(found.operations.issued) == [2, 7, 9, 11]
    assert spans(found) == [(2.5, 3.5), (7.5, 8.5), (9.5, 14.5), (14.5, 15.5)]
    assert list(found.operations.causes) == [HOST, HOST, HOST, 2]
    _, step = played(rank, host=times)
    assert step.slowest.kinds[TimeKind.COMPUTE] == 8
    assert step.slowest.kinds[TimeKind.HOST] == 7.5
    assert step.slowest.kinds == {**dict.fromkeys(TimeKind, 0), TimeKind.COMPUTE: 8, TimeKind.HOST: 7.5}


def test_operations_are_apart_by_the_gap() -> None:
    rank = RankByHand()
    for _ in range(3):
        rank.op(1)
    rank.end_step()
    times = HostTimes(operation_s=0, view_s=0, call_s=0, event_s=0, launch_s=0, gap_s=0.25)
    assert only(rank, host=times).seconds == 3.75


@pytest.mark.parametrize("how", ["stream", "device", "event"])
def test_a_synchronisation_stops_the_host(how: str) -> None:
    rank = RankByHand()
    rank.op(5)
    event = rank.record_event()
    if how == "event":
        rank.wait_event(event, None)
    else:
        rank.synchronize(0 if how == "stream" else None)
    rank.op(1)
    rank.end_step()
    times = replace(NO_HOST, operation_s=1)
    found = only(rank, host=times)
    assert spans(found) == [(1, 6), (7, 8)]
    assert (list(found.waits.starts), list(found.waits.ends), list(found.waits.operations_before)) == ([1], [6], [1])


def test_the_host_issues_a_replayed_graph_as_one() -> None:
    rank = RankByHand(group=(0,))
    rank.op(1)
    rank.begin_replay()
    for _ in range(2):
        rank.op(1, opcode=Opcode.REPLAY)
        rank.call(1)
    rank.end_replay()
    rank.op(1)
    rank.end_step()
    found = only(rank, host=HostTimes(operation_s=10, view_s=0, call_s=10, event_s=10, launch_s=0))
    assert spans(found) == [(10, 11), (20, 21), (22, 23), (30, 31)]
    assert transfers(found) == [(21, 21, 22), (23, 23, 24)]
    assert list(found.operations.issued) == [10, 20, 20, 30]


def test_a_step_begins_with_the_queues_as_the_one_before_has_left_them() -> None:
    rank = RankByHand()
    for _ in range(3):
        rank.op(10, stream=0)
        rank.op(4, stream=1)
        rank.end_step()
    found = only(rank)
    assert (found.begin_s, found.end_s) == (0, 10)
    assert spans(found) == [(0, 10), (-6, -2)]  # the play begins with the second step, in which stream 1 has ended 6 s before


def test_the_first_step_begins_with_its_forward() -> None:
    rank = RankByHand()
    rank.op(100)
    rank.phase(Phase.FORWARD)
    rank.op(3)
    rank.phase(Phase.OPTIMIZER)
    rank.op(2)
    rank.end_step()
    timeline, step = played(rank)
    assert (step.is_first_step, step.seconds) == (True, 5)
    assert (step.slowest.kinds[TimeKind.COMPUTE], step.slowest.kinds[TimeKind.OPTIMIZER]) == (3, 2)
    assert len(timeline.ranks[0].operations) == 2


# -- communication -----------------------------------------------------------------------------------------------------------------------


def test_a_call_runs_beside_what_its_stream_does_until_that_waits() -> None:
    rank = RankByHand(group=(0,))
    rank.op(1)
    call = rank.call(5, wait=False)
    rank.op(2)
    rank.wait(call)
    rank.op(1)
    rank.end_step()
    timeline, step = played(rank)
    assert transfers(timeline.ranks[0]) == [(1, 1, 6)]
    assert spans(timeline.ranks[0]) == [(0, 1), (1, 3), (6, 7)]
    (axis,) = step.slowest.communication
    assert (axis.label, axis.calls, axis.seconds, axis.exposed_s, axis.hidden_s) == ("dp", 1, 5, 3, 2)
    assert step.gains_s == {"dp": 3}


def test_calls_of_a_group_run_one_after_the_other_and_those_of_two_side_by_side() -> None:
    rank = RankByHand(group=(0,))
    for label in ("a", "a", "b"):
        rank.call(5, label=label, wait=False)
    rank.end_step()
    timeline, step = played(rank)
    assert transfers(timeline.ranks[0]) == [(0, 0, 5), (5, 5, 10), (0, 0, 5)]
    a, b = step.slowest.communication
    assert (a.exposed_s, b.exposed_s) == (7.5, 2.5)
    assert step.gains_s == {"a": 5, "b": 0}


def test_coalesced_calls_start_and_end_together() -> None:
    rank = RankByHand(group=(0,))
    first = rank.call(3, coalesced=1, wait=True)
    rank.op(4)
    rank.call(5, coalesced=1, wait=False)
    rank.wait(first)
    rank.op(1)
    rank.end_step()
    timeline, step = played(rank)
    found = timeline.ranks[0]
    assert transfers(found) == [(4, 4, 9)] * 2
    assert list(found.calls.firsts) == [0, 0]
    assert spans(found) == [(0, 4), (9, 10)]
    assert step.slowest.communication[0].seconds == 5


def test_two_ranks_of_unequal_work_wait_for_each_other() -> None:
    ranks = [RankByHand(0), RankByHand(1)]
    for rank, seconds in zip(ranks, (1, 4), strict=True):
        for _ in range(2):
            rank.op(seconds)
            rank.call(2)
            rank.end_step()
    timeline, step = played(*ranks)
    assert step.seconds == 6
    assert [rank.seconds for rank in timeline.ranks] == [6, 6]
    assert [transfers(rank) for rank in timeline.ranks] == [[(1, 4, 6)], [(4, 4, 6)]]
    assert [rank.kinds[TimeKind.WAITING] for rank in step.ranks] == [3, 0]
    assert [rank.communication[0].waiting_s for rank in step.ranks] == [3, 0]
    assert {(entry.rank, entry.name): entry.seconds for entry in step.critical_path} == {(1, "op"): 4, (1, "all_reduce"): 2}
    assert list(timeline.ranks[0].calls.last_ranks) == [1]


def test_a_rank_goes_on_with_other_streams_while_one_waits_for_a_late_member() -> None:
    early, late = RankByHand(0), RankByHand(1)
    for rank, seconds in ((early, 1), (late, 10)):
        rank.op(seconds)
        rank.call(1, stream=0)
        rank.op(1, stream=0)
        rank.call(1, stream=2, label="other")
        rank.op(3, stream=2)
        rank.end_step()
    timeline, _ = played(early, late)
    assert spans(timeline.ranks[0]) == [(0, 1), (11, 12), (1, 4)]


def test_calls_in_other_orders_on_two_streams_do_not_hang() -> None:
    ranks = [RankByHand(0), RankByHand(1)]
    for rank, labels in zip(ranks, (("a", "b"), ("b", "a")), strict=True):
        for label in labels:
            rank.call(2, label=label, stream=0 if label == "a" else 1)
        rank.end_step()
    timeline, step = played(*ranks)
    assert step.seconds == 2
    assert [transfers(rank) for rank in timeline.ranks] == [[(0, 0, 2), (0, 0, 2)]] * 2


def test_a_send_starts_when_its_receive_is_there() -> None:
    sender, receiver = RankByHand(0), RankByHand(1)
    sender.op(3)
    sender.send(1, peer=1, label="pp")
    receiver.recv(1, peer=0, label="pp")
    receiver.op(2)
    for rank in (sender, receiver):
        rank.end_step()
    timeline, step = played(sender, receiver)
    assert [rank.seconds for rank in timeline.ranks] == [4, 6]
    assert step.slowest.kinds == {
        **dict.fromkeys(TimeKind, 0),
        TimeKind.COMPUTE: 2,
        TimeKind.BUBBLE: 3,
        TimeKind.EXPOSED_COMMUNICATION: 1,
    }
    assert [(entry.rank, entry.name, entry.seconds) for entry in step.critical_path] == [(0, "op", 3), (1, "op", 2), (1, "recv", 1)]


def test_a_ring_of_equal_ranks_is_one_class() -> None:
    ranks = []
    for number in range(4):
        rank = RankByHand(number, group=range(4))
        rank.op(1)
        rank.send(2, peer=(number + 1) % 4, coalesced=0, wait=False)
        rank.recv(2, peer=(number - 1) % 4, coalesced=0, wait=True)
        rank.op(1)
        rank.end_step()
        ranks.append(rank)
    timeline, step = played(*ranks)
    (found,) = timeline.ranks
    assert (found.representative, found.ranks, found.seconds) == (0, (0, 1, 2, 3), 4)
    assert step.seconds == 4


def test_members_that_are_not_known_arrive_in_time() -> None:
    rank = RankByHand(0, group=(0, 1))
    rank.op(1)
    rank.call(2)
    rank.end_step()
    timeline, step = played(rank)
    assert step.seconds == 3
    assert timeline.unknown_members == step.unknown_members == ("dp",)


def test_assumed_ranks_are_played_with_the_others() -> None:
    slow, quick = RankByHand(0, group=(0, 1)), RankByHand(1, group=(0, 1))
    for rank, seconds in ((slow, 5), (quick, 1)):
        rank.op(seconds)
        rank.call(1)
        rank.end_step()
    player = player_of([quick.record()], [slow.record()], prices())
    assert not isinstance(player, NoTimeline)
    timeline = player.timeline()
    assert [(rank.representative, rank.seconds) for rank in timeline.ranks] == [(0, 6), (1, 6)]
    assert timeline.unknown_members == ()


def test_ranks_with_equal_calls_are_played_as_the_busiest_where_classes_are_too_many() -> None:
    """One of four ranks reads a value in each step: without joining it is a class, and so are the peers of each of its two groups."""
    ranks = []
    for number in range(4):
        rank = RankByHand(number)
        for _ in range(2):
            for label, group in (("dp", (number % 2, number % 2 + 2)), ("tp", (number // 2 * 2, number // 2 * 2 + 1))):
                rank.op(1)
                rank.call(1, group=group, label=label)
            if number == 0:
                rank.op(3)
                rank.synchronize(0)
            rank.end_step()
        ranks.append(rank.record())
    apart = played_classes(ranks, (), 8)
    joined = played_classes(ranks, (), 8, most_instructions=20)
    assert (len(apart.classes), apart.joins_programs) == (4, False)
    assert [(each.representative, each.ranks) for each in joined.classes] == [(0, (0, 1, 2, 3))]
    assert joined.joins_programs
    seconds = []
    for classes in (apart, joined):
        parts = Parts(classes, 1, prices().operations, prices().calls, 100, NO_HOST)
        seconds.append(Player(classes, parts, 1, NO_HOST).timeline().slowest.seconds)
    assert seconds == [7, 7]


def test_communication_slows_the_operations_beside_it() -> None:
    rank = RankByHand(group=(0,))
    rank.call(4, wait=False)
    rank.op(4)
    rank.record_event()
    rank.op(4)
    rank.end_step()
    timeline, step = played(rank, multiprocessors=25)
    assert step.seconds == 9
    assert step.slowest.kinds[TimeKind.CONTENTION] == 1
    assert step.slowest.kinds[TimeKind.COMPUTE] == 8
    assert list(timeline.ranks[0].operations.contended) == [1, 0]
    assert step.gains_s == {"dp": 1}


# -- no step time ------------------------------------------------------------------------------------------------------------------------


def completed(rank: int) -> RankRecord:
    found = RankByHand(rank, group=range(3))
    found.op(1)
    found.end_step()
    return found.record()


FAILURE = ProcessFailure(kind=FailureKind.EXCEPTION, exception="KeyError", message="1")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], "no rank was simulated"),
        ([completed(0), replace(completed(1), failure=FAILURE)], "rank 1 failed"),
        ([replace(completed(rank), blocked=Blocked(call=0, waits_for=(2,))) for rank in range(2)], "ranks 0-1 never get out of a call"),
        ([completed(0), RankByHand(1).record()], "rank 1 completed no training step"),
    ],
)
def test_a_run_without_a_completed_step_has_no_step_time(records: list[RankRecord], reason: str) -> None:
    found = player_of(records, (), prices())
    assert isinstance(found, NoTimeline)
    assert found.reason == reason


def test_ranks_that_wait_for_each_other_have_no_step_time() -> None:
    ranks = [RankByHand(0), RankByHand(1)]
    for rank, labels in zip(ranks, (("a", "b"), ("b", "a")), strict=True):
        for label in labels:
            rank.call(2, label=label)
        rank.end_step()
    found = player_of([rank.record() for rank in ranks], (), prices())
    assert isinstance(found, NoTimeline)
    assert found.reason == "ranks 0-1 wait for calls that others do not issue"


def test_a_call_that_the_other_side_issued_before_the_play_has_happened() -> None:
    """The peer of the last step's receive was sent in the first of three steps."""
    sender, receiver = RankByHand(0), RankByHand(1)
    for step in range(3):
        sender.op(1)
        receiver.op(1)
        if step == 0:
            sender.send(1, peer=1, wait=False)
        if step == 2:
            receiver.recv(1, peer=0)
        for rank in (sender, receiver):
            rank.end_step()
    _, step_time = played(sender, receiver)
    assert step_time.seconds == 2


def test_a_collective_that_a_member_never_issues_does_not_end() -> None:
    first, second = RankByHand(0), RankByHand(1)
    first.call(1, CollectiveOp.BARRIER)
    for rank in (first, second):
        rank.op(1)
        rank.end_step()
    found = player_of([first.record(), second.record()], (), prices())
    assert isinstance(found, NoTimeline)
    assert found.reason == "rank 1 does not issue collectives of group dp that others wait in"


def test_the_slowest_of_ranks_that_take_nearly_as_long_is_that_with_most_to_do() -> None:
    """The second step of a pipeline is not yet as long on all stages."""

    def rank(number: int, seconds: float) -> RankByHand:
        made = RankByHand(number)
        for _ in range(2):
            made.op(seconds)
            made.call(1)
            made.end_step()
        return made

    timeline, _ = played(rank(0, 1), rank(1, 9))
    idle, busy = timeline.ranks
    for later, slowest in ((0.1, 1), (1.0, 0)):
        found = replace(timeline, ranks=(replace(idle, end_s=idle.end_s + later), busy))
        assert found.slowest.representative == slowest
