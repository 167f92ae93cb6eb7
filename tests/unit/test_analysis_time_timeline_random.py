"""Random programs of two ranks, held against a second player that goes about it another way; and what holds of every step time."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakerun.analysis.time.step_time import TimeKind
from fakerun.analysis.time.timeline import NoTimeline, player_of
from fakerun.analysis.time.timeline.player import Player
from tests.unit.steps_by_hand import NO_HOST, RankByHand, played, prices

STREAMS, LABELS = 3, ("dp", "tp")


@dataclass(frozen=True)
class Op:
    seconds: int
    stream: int


@dataclass(frozen=True)
class Call:
    seconds: int
    label: str
    stream: int


@dataclass(frozen=True)
class WaitForCall:
    """`age` is counted modulo the calls so far."""

    age: int
    stream: int


@dataclass(frozen=True)
class Behind:
    """`stream` waits for what another has queued, by an event or as a whole; the host does if it is None."""

    other: int
    stream: int | None
    is_event: bool


Line = Op | Call | WaitForCall | Behind
Program = tuple[Line, ...]

streams = st.integers(0, STREAMS - 1)
seconds = st.integers(0, 5)
ops = st.builds(Op, seconds, streams)
calls = st.builds(Call, seconds, st.sampled_from(LABELS), streams)
own_lines = st.lists(
    st.one_of(ops, ops, st.builds(WaitForCall, st.integers(0, 3), streams), st.builds(Behind, streams, st.none() | streams, st.booleans())),
    max_size=5,
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Program, Program]:
    """Two programs with the same calls in the same order, and whatever else between them."""
    programs: tuple[list[Line], list[Line]] = ([], [])
    for call in draw(st.lists(calls, max_size=5)):
        for program in programs:
            program += [*draw(own_lines), call]
    for program in programs:
        program += draw(own_lines)
    return tuple(programs[0]), tuple(programs[1])


def write(rank: RankByHand, program: Program) -> None:
    issued: list[int] = []
    for line in program:
        if isinstance(line, Op):
            rank.op(line.seconds, line.stream)
        elif isinstance(line, Call):
            issued.append(rank.call(line.seconds, label=line.label, stream=line.stream, wait=False))
        elif isinstance(line, WaitForCall):
            if issued:
                rank.wait(issued[-1 - line.age % len(issued)], line.stream)
        elif line.is_event:
            rank.wait_event(rank.record_event(line.other), line.stream)
        elif line.stream is None:
            rank.synchronize(line.other)
        else:
            rank.wait_stream(line.other, line.stream)
    rank.end_step()


def ranks_of(programs: tuple[Program, ...], *, steps: int = 1) -> list[RankByHand]:
    ranks = [RankByHand(number, group=range(len(programs)), streams=STREAMS) for number in range(len(programs))]
    for rank, program in zip(ranks, programs, strict=True):
        for _ in range(steps):
            write(rank, program)
    return ranks


class SecondPlayer:
    """Plays all programs again and again, with the starts of calls that the arrivals of the time before give, until these stay."""

    def __init__(self, programs: tuple[Program, ...], host_s: float) -> None:
        self._host_s = host_s
        count = sum(isinstance(line, Call) for line in programs[0])
        starts = [0.0] * count
        while True:
            self.plays = [self._play(program, starts) for program in programs]
            arrivals = [max(play[1][number] for play in self.plays) for number in range(count)]
            if arrivals == starts:
                break
            starts = arrivals
        self.starts = starts
        self.ends = [play[0] for play in self.plays]

    def _play(self, program: Program, starts: list[float]) -> tuple[float, list[float]]:
        """The end of the program, and when each call has arrived."""
        host, arrivals, ends = 0.0, [], []
        free = [0.0] * STREAMS
        communicators = dict.fromkeys(LABELS, 0.0)
        for line in program:
            if isinstance(line, Op):
                host += self._host_s
                free[line.stream] = max(free[line.stream], host) + line.seconds
            elif isinstance(line, Call):
                arrivals.append(max(free[line.stream], host, communicators[line.label]))
                ends.append(max(arrivals[-1], starts[len(arrivals) - 1]) + line.seconds)
                communicators[line.label] = ends[-1]
            elif isinstance(line, WaitForCall):
                if ends:
                    free[line.stream] = max(free[line.stream], ends[-1 - line.age % len(ends)])
            elif line.stream is None:
                host = max(host, free[line.other])
            else:
                free[line.stream] = max(free[line.stream], free[line.other])
        return max(host, *free, *communicators.values()), arrivals


def player_for(programs: tuple[Program, ...], host_s: int = 0) -> Player:
    host = replace(NO_HOST, operation_s=host_s)
    player = player_of([rank.record() for rank in ranks_of(programs)], (), prices(host))
    assert not isinstance(player, NoTimeline), player.reason
    return player


def end_of(programs: tuple[Program, ...]) -> float:
    return max(rank.end_s for rank in player_for(programs).timeline().ranks)


few = settings(max_examples=50, deadline=None)


@given(programs=pairs(), host_s=st.integers(0, 3))
@few
def test_both_players_agree(programs: tuple[Program, Program], host_s: int) -> None:
    second = SecondPlayer(programs, host_s)
    timeline = player_for(programs, host_s).timeline()
    for number, end in enumerate(second.ends):
        rank = next(rank for rank in timeline.ranks if number in rank.ranks)
        assert rank.end_s == end
        assert list(rank.calls.starts) == second.starts


@given(programs=pairs())
@few
def test_full_overlap_and_none_bracket_every_program(programs: tuple[Program, Program]) -> None:
    queues: dict[tuple[int, int | str], int] = {}
    for number, program in enumerate(programs):
        for line in program:
            if isinstance(line, Op | Call):
                queue = (number, line.stream) if isinstance(line, Op) else (0, line.label)
                queues[queue] = queues.get(queue, 0) + (line.seconds if number == 0 or isinstance(line, Op) else 0)
    assert max(queues.values(), default=0) <= end_of(programs) <= sum(queues.values())


@given(programs=pairs(), which=st.integers(0), more=st.integers(1, 9))
@few
def test_time_never_decreases_when_a_cost_grows(programs: tuple[Program, Program], which: int, more: int) -> None:
    first, second = programs
    places = [place for place, line in enumerate(first) if isinstance(line, Op | Call)]
    if not places:
        return
    place = places[which % len(places)]
    line = first[place]
    assert isinstance(line, Op | Call)
    longer = (*first[:place], replace(line, seconds=line.seconds + more), *first[place + 1 :])
    assert end_of(programs) <= end_of((longer, second)) <= end_of(programs) + more


@given(programs=pairs(), host_s=st.integers(0, 2))
@few
def test_it_does_not_matter_which_rank_is_which(programs: tuple[Program, Program], host_s: int) -> None:
    ends = []
    for each in (programs, programs[::-1]):
        timeline = player_for(each, host_s).timeline()
        ends.append(sorted(rank.end_s for rank in timeline.ranks for _ in rank.ranks))
    assert ends[0] == ends[1]


@given(programs=pairs(), host_s=st.integers(0, 2), multiprocessors=st.sampled_from((0, 20)))
@few
def test_what_a_step_is_spent_on_adds_up(programs: tuple[Program, Program], host_s: int, multiprocessors: int) -> None:
    _, step = played(*ranks_of(programs, steps=2), host=replace(NO_HOST, operation_s=host_s), multiprocessors=multiprocessors)
    for rank in step.ranks:
        assert sum(rank.kinds.values()) == pytest.approx(rank.seconds)
        exposed = sum(axis.exposed_s for axis in rank.communication)
        assert exposed == pytest.approx(rank.kinds[TimeKind.EXPOSED_COMMUNICATION])
        waiting = sum(axis.waiting_s for axis in rank.communication)
        assert waiting == pytest.approx(rank.kinds[TimeKind.WAITING] + rank.kinds[TimeKind.BUBBLE])
        for axis in rank.communication:
            assert axis.exposed_s + axis.hidden_s == axis.seconds
            assert -1e-9 <= axis.exposed_s <= axis.seconds + 1e-9
    assert sum(entry.seconds for entry in step.critical_path) == pytest.approx(step.seconds)


@given(programs=pairs(), host_s=st.integers(0, 2))
@few
def test_each_moment_is_spent_as_looking_at_it_says(programs: tuple[Program, Program], host_s: int) -> None:
    """All times are whole seconds: what is true in the middle of one is true of all of it."""
    timeline, step = played(*ranks_of(programs), host=replace(NO_HOST, operation_s=host_s))
    for rank, told in zip(timeline.ranks, step.ranks, strict=True):
        kinds = dict.fromkeys(TimeKind, 0)
        for second in range(round(rank.begin_s), round(rank.end_s)):
            now = second + 0.5
            computes = any(start < now < end for start, end in zip(rank.operations.starts, rank.operations.ends, strict=True))
            transfers = any(start < now < end for start, end in zip(rank.calls.starts, rank.calls.ends, strict=True))
            waits = any(arrived < now < start for arrived, start in zip(rank.calls.arrived, rank.calls.starts, strict=True))
            kinds[kind_of(computes, transfers, waits)] += 1
        assert told.kinds == kinds


def kind_of(computes: bool, transfers: bool, waits: bool) -> TimeKind:
    if computes:
        return TimeKind.COMPUTE
    if transfers:
        return TimeKind.EXPOSED_COMMUNICATION
    return TimeKind.WAITING if waits else TimeKind.HOST


@given(programs=pairs(), label=st.sampled_from(LABELS))
@few
def test_what_an_axis_would_gain_is_the_step_with_calls_that_take_no_time(programs: tuple[Program, Program], label: str) -> None:
    player = player_for(programs)
    free = [
        tuple(replace(line, seconds=0) if isinstance(line, Call) and line.label == label else line for line in each) for each in programs
    ]
    assert player.gain_s(label) == end_of(programs) - end_of((free[0], free[1]))
