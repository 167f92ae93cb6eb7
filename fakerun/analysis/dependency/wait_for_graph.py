"""The wait-for graph: which call can complete only after which other one, and which calls can never complete.

Nodes, for each class of ranks and each of its calls: the class arrives at the call; the call starts; the matched calls (position n of a
queue) complete, one node for all that take part; coalesced calls complete together. An edge goes from a node to each one that waits for
it. Nodes without open dependencies are removed until none is left; a node that remains waits in a cycle, or for one that does.
Members that are not simulated are taken to arrive in time. A p2p call whose peer never issues the matching call makes no cycle.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from fakerun.analysis.dependency.issue_order import IssueOrder, Queue
from fakerun.analysis.dependency.rank_partition import ClassQueue, RankPartition
from fakerun.analysis.dependency.union_find import UnionFind


@dataclass(frozen=True, slots=True)
class Dependency:
    """A node that another one waits for. `call` is the index of the call that gives rise to it; -1 where coalesced calls complete."""

    node: int
    call: int


class WaitForGraph:
    """The graph of the classes of a partition.

    By class and call: `arrivals[c][k]` is the node of class c arriving at call k (the last entry is the end of the program),
    `completions[c][k]` the completion of that call. By node: `dependencies`, `dependents`, and `owner`, the class of the node, None for a
    completion. `first_coalesced` maps the node at which coalesced calls complete to the first of them.
    """

    def __init__(self, partition: RankPartition) -> None:
        self.partition = partition
        self.dependencies: list[list[Dependency]] = []
        self.dependents: list[list[int]] = []
        self.owner: list[int | None] = []
        self.arrivals: dict[int, list[int]] = {}
        self.completions: dict[int, list[int]] = {}
        self.first_coalesced: dict[int, int] = {}
        self._matched = partition.matched_queues()
        self._completion_at: dict[tuple[ClassQueue, int], int] = {}
        self._coalesced: list[tuple[int, list[int]]] = []
        """Of calls coalesced on one class: the node at which they complete, and the completion of each."""
        for number, rank in partition.first_ranks().items():
            self._add(number, partition.issue_orders[rank])
        self._join_coalesced()

    def completions_from(self, queue: ClassQueue, position: int) -> list[int]:
        """The completions of the calls in a queue of a class, from that position on."""
        matched = self._matched.find(queue)
        completions = []
        while (completion := self._completion_at.get((matched, position))) is not None:
            completions.append(completion)
            position += 1
        return completions

    def blocked(self) -> set[int]:
        """The nodes that are never reached: they wait in a cycle, or for a node that does."""
        open_dependencies = [len(dependencies) for dependencies in self.dependencies]
        ready = [node for node, count in enumerate(open_dependencies) if not count]
        reached = bytearray(len(open_dependencies))
        while ready:
            node = ready.pop()
            reached[node] = 1
            for dependent in self.dependents[node]:
                open_dependencies[dependent] -= 1
                if not open_dependencies[dependent]:
                    ready.append(dependent)
        return {node for node, is_reached in enumerate(reached) if not is_reached}

    def with_dependents(self, nodes: Iterable[int]) -> set[int]:
        """The nodes and all that wait for them, directly or indirectly."""
        found = set(nodes)
        pending = list(found)
        while pending:
            for dependent in self.dependents[pending.pop()]:
                if dependent not in found:
                    found.add(dependent)
                    pending.append(dependent)
        return found

    # -- building ------------------------------------------------------------------------------------------------------------------------

    def _node(self, owner: int | None) -> int:
        self.dependencies.append([])
        self.dependents.append([])
        self.owner.append(owner)
        return len(self.owner) - 1

    def _edge(self, dependency: int, dependent: int, call: int) -> None:
        self.dependencies[dependent].append(Dependency(dependency, call))
        self.dependents[dependency].append(dependent)

    def _add(self, number: int, order: IssueOrder) -> None:
        self.completions[number] = [-1] * len(order.calls)
        self.arrivals[number] = []
        state = _BuildState()
        for index, call in enumerate(order.calls):
            arrival = self._arrive(number, index, state)
            starting = order.coalesced.get(call.coalesced, (index,))
            if index == starting[-1]:
                self._start(number, order, starting, arrival, state)
        self._arrive(number, len(order.calls), state)

    def _arrive(self, number: int, index: int, state: "_BuildState") -> int:
        """The node at which the class arrives at a call, or at the end of its program."""
        arrival = self._node(number)
        arrivals = self.arrivals[number]
        if arrivals:
            self._edge(arrivals[-1], arrival, index)
        arrivals.append(arrival)
        for end in state.waited_before.pop(index, ()):
            self._edge(end.node, arrival, end.call)
        return arrival

    def _start(self, number: int, order: IssueOrder, indices: Sequence[int], arrival: int, state: "_BuildState") -> None:
        """Calls that start together, after the calls that were issued on their communicators before."""
        calls = [order.calls[index] for index in indices]
        communicators = {call.communicator: None for call in calls if call.communicator is not None}
        start = self._node(number)
        self._edge(arrival, start, indices[-1])
        for communicator in communicators:
            if communicator in state.last_on:
                self._edge(state.last_on[communicator].node, start, state.last_on[communicator].call)
        completions = [
            Dependency(self._complete(number, start, call.queue, index, state), index)
            for index, call in zip(indices, calls, strict=True)
            if call.queue
        ]
        if not completions:
            return
        end = completions[0] if calls[0].coalesced is None else self._coalesced_end(number, completions)
        state.last_on.update(dict.fromkeys(communicators, end))
        for call in calls:
            if call.waited_before is not None:
                state.waited_before[max(call.waited_before, indices[-1] + 1)].append(end)

    def _complete(self, number: int, start: int, queue: Queue, index: int, state: "_BuildState") -> int:
        key = self._matched.find((number, queue)), state.length[queue]
        state.length[queue] += 1
        completion = self._completion_at.get(key)
        if completion is None:
            completion = self._completion_at[key] = self._node(None)
        self._edge(start, completion, index)
        self.completions[number][index] = completion
        return completion

    def _coalesced_end(self, number: int, completions: list[Dependency]) -> Dependency:
        end = self._node(number)
        self._coalesced.append((end, [completion.node for completion in completions]))
        self.first_coalesced[end] = completions[0].call
        return Dependency(end, completions[0].call)

    def _join_coalesced(self) -> None:
        """Coalesced calls complete together, on both sides: so do blocks that share a completion, directly or through other blocks.

        pytorch/PiPPy #969: stage 0 sends to stages 1 and 2 in one batch, stage 2 receives from both in one; stage 1 can send only after it
        has received.
        """
        joined: UnionFind[int] = UnionFind()
        for _, completions in self._coalesced:
            for other in completions[1:]:
                joined.union(completions[0], other)
        ends: dict[int, int] = {}
        for end, completions in self._coalesced:
            root = joined.find(completions[0])
            if root not in ends:
                ends[root] = self._node(None)
            self._edge(ends[root], end, -1)
        for completion in {completion for _, completions in self._coalesced for completion in completions}:
            self._edge(completion, ends[joined.find(completion)], -1)


@dataclass(slots=True)
class _BuildState:
    """The program of a class so far: the last completion on each communicator, what is waited for before each call, calls per queue."""

    last_on: dict[Hashable, Dependency] = field(default_factory=dict)
    waited_before: dict[int, list[Dependency]] = field(default_factory=lambda: defaultdict(list))
    length: dict[Queue, int] = field(default_factory=lambda: defaultdict(int))
