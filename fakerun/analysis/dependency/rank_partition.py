"""The partition of ranks into classes, so that dependencies are followed once for each class instead of once for each rank.

At first, ranks with the same issue order form one class. Mapping ranks to classes, and matched calls of ranks to matched calls of classes,
preserves who waits for whom: if no class is in a cycle, no rank is. The reverse holds once the partition is stable: when all ranks
of a class have peers of the same classes in each of their groups and p2p queues, at the same index of their groups, what happens
to a class happens to each of its ranks.
"""

from collections.abc import Hashable, Mapping

from fakerun.analysis.dependency.issue_order import IssueOrder, IssueOrders, Queue
from fakerun.analysis.dependency.simulated_world import Direction, Group, SimulatedWorld
from fakerun.analysis.dependency.union_find import UnionFind

ClassQueue = tuple[int, Queue]
"""A queue of a class."""


class RankPartition:
    """The classes of the ranks of a run, as coarse as possible at first: `class_of` maps a rank to the number of its class."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        orders = IssueOrders()
        self.issue_orders: Mapping[int, IssueOrder] = {rank: orders.of(view) for rank, view in world.ranks.items()}
        numbers: dict[IssueOrder, int] = {}
        self.class_of: dict[int, int] = {rank: numbers.setdefault(order, len(numbers)) for rank, order in self.issue_orders.items()}
        self._peers = {
            rank: tuple(self.peer(rank, index, direction) for index, direction in order.p2p_queues)
            for rank, order in self.issue_orders.items()
        }

    def first_ranks(self) -> Mapping[int, int]:
        """By class its lowest rank."""
        first: dict[int, int] = {}
        for rank, number in self.class_of.items():
            first.setdefault(number, rank)
        return first

    def refine(self) -> bool:
        """Split the classes whose ranks have peers of different classes, or at other indices of their groups; whether any was split."""
        before = len(set(self.class_of.values()))
        peer_classes = {
            group: frozenset((self.class_of[rank], self.group_index(rank, group)) for rank in group.slots) for group in self.world.groups
        }
        sets: dict[Hashable, int] = {}
        peers_in = {group: sets.setdefault(classes, len(sets)) for group, classes in peer_classes.items()}
        numbers: dict[Hashable, int] = {}
        refined = {}
        for rank, number in self.class_of.items():
            groups = self.world.ranks[rank].groups
            queues = self.issue_orders[rank].p2p_queues
            peers = tuple(
                None if peer is None else (self.class_of[peer], self.group_index(peer, groups[index]))
                for (index, _), peer in zip(queues, self._peers[rank], strict=True)
            )
            key = number, tuple(peers_in[group] for group in groups), peers
            refined[rank] = numbers.setdefault(key, len(numbers))
        self.class_of = refined
        return len(numbers) > before

    def refine_until_stable(self) -> None:
        """Refine until no class is split any more. A difference between two ranks spreads by one group or one p2p queue a round."""
        while self.refine():
            pass

    def matched_queues(self) -> UnionFind[ClassQueue]:
        """The queues of classes, merged where their calls are matched with each other."""
        matched: UnionFind[ClassQueue] = UnionFind()
        for group in self.world.groups:
            queues: set[ClassQueue] = {(self.class_of[rank], (self.group_index(rank, group), None)) for rank in group.slots}
            first, *others = queues or {(0, (0, None))}
            for other in others:
                matched.union(first, other)
        seen: set[tuple[ClassQueue, ClassQueue]] = set()
        for rank, order in self.issue_orders.items():
            for (index, direction), peer in zip(order.p2p_queues, self._peers[rank], strict=True):
                if peer is None:
                    continue
                group = self.world.ranks[rank].groups[index]
                own: ClassQueue = self.class_of[rank], (index, direction)
                other = self.class_queue(peer, group, direction.reverse(len(group.ranks)))
                if (own, other) not in seen:
                    seen.add((own, other))
                    matched.union(own, other)
        return matched

    def class_queue(self, rank: int, group: Group, direction: Direction | None) -> ClassQueue:
        """The queue of the rank's class for its collectives in that group, or for its p2p calls in that direction."""
        return self.class_of[rank], (self.group_index(rank, group), direction)

    def peer(self, rank: int, group_index: int, direction: Direction) -> int | None:
        """The other side of the direction; None if it is not simulated."""
        group = self.world.ranks[rank].groups[group_index]
        peer = group.ranks[(group.group_rank_of[rank] + direction.peer_offset) % len(group.ranks)]
        return peer if peer in group.slots else None

    def group_index(self, rank: int, group: Group) -> int:
        """The index of the group among those of the rank; -1 if the rank does not use it."""
        slots = group.slots.get(rank)
        return self.world.ranks[rank].group_of_slot[slots[0]] if slots else -1
