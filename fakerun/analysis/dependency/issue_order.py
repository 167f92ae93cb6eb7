"""The issue order of a rank: its calls without their payload, only whom each one is matched with, what it runs after, who waits for it.

The blocking rules are those of c10d's back ends. On NCCL (torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, torch 2.11 to 2.15) a call
runs on the stream of its communicator, after the calls issued there before it. A synchronous call makes the current stream wait for it;
for an asynchronous call the handle's wait() does. Collectives, and p2p calls between startCoalescing and endCoalescing, use the
communicator of the group (`getKeyFromDevice`). A p2p call outside of such a block uses one that the two ranks share for both directions
(`getKeySendRecv`); if init_process_group was given a `device_id`, it uses that of the group, where nothing that deadlocks here would
complete either. Coalesced calls are launched by one ncclGroupEnd: they start together and complete together. On gloo each call runs
independently, and the host waits for it.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fakerun.analysis.dependency.simulated_world import Direction, RankView, direction_of
from fakerun.records.collective import P2P_OPS
from fakerun.records.schedule import ScheduledCall

Queue: TypeAlias = tuple[int, Direction | None]
"""Calls of a rank that are matched with those of other ranks in order: the index of one of its groups, and the direction of p2p calls in
it, or None for its collectives."""


@dataclass(frozen=True, slots=True)
class IssuedCall:
    """One call. `queue` is None if it is matched with no particular call: it receives from any source, or the rank is not in the group.

    `communicator` is None where nothing keeps calls in order. `waited_before` is the index of the call before which the rank waits for
    this one, None if it never does. Calls with the same `coalesced` start and complete together.
    """

    queue: Queue | None
    communicator: Hashable
    waited_before: int | None
    coalesced: int | None


@dataclass(frozen=True, slots=True, eq=False)
class IssueOrder:
    """Calls in the order in which ranks issue them, shared by all ranks that issue the same.

    `p2p_queues` are its queues of p2p calls, `coalesced` the indices of the calls that are coalesced under each number.
    """

    calls: tuple[IssuedCall, ...]
    p2p_queues: tuple[tuple[int, Direction], ...]
    coalesced: Mapping[int | None, Sequence[int]]

    def completing_with(self, index: int) -> Sequence[int]:
        """The indices of the calls that are coalesced with that call, itself included."""
        return self.coalesced.get(self.calls[index].coalesced, (index,))


class IssueOrders:
    """The distinct issue orders of a run. Ranks that differ only in sizes or call sites share one."""

    def __init__(self) -> None:
        self._by_schedule: dict[Hashable, IssueOrder] = {}
        self._by_calls: dict[tuple[IssuedCall, ...], IssueOrder] = {}
        self._calls: dict[IssuedCall, IssuedCall] = {}

    def of(self, view: RankView) -> IssueOrder:
        """The issue order of a rank."""
        is_outside = tuple(view.rank not in group.group_rank_of for group in view.groups)
        key = view.schedule, view.group_of_slot, is_outside
        order = self._by_schedule.get(key)
        if order is None:
            calls = tuple(self._issued(view, index, call, is_outside) for index, call in enumerate(view.schedule.calls))
            order = self._by_calls.get(calls) or self._by_calls.setdefault(calls, _issue_order(calls))
            self._by_schedule[key] = order
        return order

    def _issued(self, view: RankView, index: int, call: ScheduledCall, is_outside: tuple[bool, ...]) -> IssuedCall:
        group = view.group_of_slot[call.slot]
        queue, communicator = (None, None) if is_outside[group] else _queue_and_communicator(call, group)
        waited_before = call.waited_before if call.is_async else index + 1
        on_gpu = call.device is not None
        issued = IssuedCall(queue, communicator if on_gpu else None, waited_before, call.coalesced if on_gpu else None)
        return self._calls.setdefault(issued, issued)


def _queue_and_communicator(call: ScheduledCall, group: int) -> tuple[Queue | None, Hashable]:
    if call.op not in P2P_OPS:
        return (group, None), (group, None)
    direction = direction_of(call)
    queue = None if direction is None else (group, direction)
    if call.coalesced is not None:
        return queue, (group, None)
    return queue, None if direction is None else (group, direction.peer_offset)


def _issue_order(calls: tuple[IssuedCall, ...]) -> IssueOrder:
    coalesced: dict[int | None, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        if call.coalesced is not None:
            coalesced[call.coalesced].append(index)
    queues = dict.fromkeys(call.queue for call in calls)
    p2p_queues = tuple((queue[0], queue[1]) for queue in queues if queue is not None and queue[1] is not None)
    return IssueOrder(calls, p2p_queues, dict(coalesced))
