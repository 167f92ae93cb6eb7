"""The course of a rank: its calls without what they move, only with whom they meet, what they wait for and where they are waited for.

The blocking rules are those of c10d's back ends. On NCCL (torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, torch 2.11 to 2.15) a call
runs on the stream of its communicator, after what was issued there before; a call that is not asynchronous has the current stream wait
for it, a handle's wait() does so later. Collectives, and messages between startCoalescing and endCoalescing, use the communicator of
the group (`getKeyFromDevice`); a message by itself uses one that the two ranks have for both directions (`getKeySendRecv`; with
`device_id` given to init_process_group, the group's: nothing that hangs here works there). What is coalesced is launched by one
ncclGroupEnd: it begins together and ends together. On gloo each call is by itself, and the host waits.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fakerun.analysis.dependency.simulated_world import Seat
from fakerun.analysis.matching.compare.call_signature import MESSAGES
from fakerun.analysis.matching.compare.interning import Way, way_of
from fakerun.records.schedule import ScheduledCall

Line: TypeAlias = tuple[int, Way | None]
"""Where calls of a rank meet those of others, in order: the collectives of a port, or its messages one way."""


@dataclass(frozen=True, slots=True)
class Move:
    """One call. `line` is None if it meets nobody: a message from whoever comes first, a call of one that is not in the group.

    `communicator` is None where nothing keeps calls in order; `waited_at` is the call before which the rank waits for this one.
    """

    line: Line | None
    communicator: Hashable
    waited_at: int | None
    batch: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The moves of ranks that meet others in the same order.

    `ways` are those on which a message is met, `batches` the calls of each, `nth` by call how many it comes after on its line.
    """

    moves: tuple[Move, ...]
    ways: tuple[tuple[int, Way], ...]
    batches: Mapping[int | None, Sequence[int]]
    nth: tuple[int, ...]


class Courses:
    """The distinct courses of a run: ranks that differ in sizes or lines only have the same."""

    def __init__(self) -> None:
        self._of_traces: dict[Hashable, Course] = {}
        self._equal: dict[tuple[Move, ...], Course] = {}
        self._moves: dict[Move, Move] = {}

    def of(self, seat: Seat) -> Course:
        outside = tuple(seat.rank not in port.places for port in seat.ports)
        key = seat.trace, seat.port_of, outside
        course = self._of_traces.get(key)
        if course is None:
            moves = tuple(self._move(seat, index, call, outside) for index, call in enumerate(seat.trace.schedule.calls))
            course = self._equal.get(moves) or self._equal.setdefault(moves, _course(moves))
            self._of_traces[key] = course
        return course

    def _move(self, seat: Seat, index: int, call: ScheduledCall, outside: tuple[bool, ...]) -> Move:
        port = seat.port_of[call.slot]
        on_gpu = call.device == "cuda"
        line: Line | None = None
        communicator: Hashable = (port, None)
        if call.op not in MESSAGES:
            line = port, None
        else:
            way = way_of(call)
            line = None if way is None else (port, way)
            if call.coalesced is None:
                communicator = None if way is None else (port, way.distance)
        if outside[port]:
            line = communicator = None
        waited_at = call.waited_before if call.is_async else index + 1
        move = Move(line, communicator if on_gpu else None, waited_at, call.coalesced if on_gpu else None)
        return self._moves.setdefault(move, move)


def _course(moves: tuple[Move, ...]) -> Course:
    batches: dict[int | None, list[int]] = defaultdict(list)
    made: dict[Line | None, int] = defaultdict(int)
    nth = []
    for index, move in enumerate(moves):
        nth.append(made[move.line])
        made[move.line] += 1
        if move.batch is not None:
            batches[move.batch].append(index)
    ways = tuple((line[0], line[1]) for line in made if line is not None and line[1] is not None)
    return Course(moves, ways, dict(batches), tuple(nth))
