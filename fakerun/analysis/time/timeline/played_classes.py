"""The classes of ranks that are played: ranks with equal programs, equal calls on equally placed groups, and peers of the same classes.

One rank that does something of its own, as reading the loss to print it, makes its peers classes of their own, and theirs: in a mesh of
four axes sixteen stages become 64 classes. Where they would take too long to play, ranks with equal calls are one class whatever their
programs do besides, and the longest program stands for all: others wait for it in any case.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.dependency import Group, IssueOrder, RankPartition, RankView, SimulatedWorld
from fakerun.analysis.dependency.rank_partition import ClassQueue
from fakerun.records.collective import P2P_OPS
from fakerun.records.device_program import DeviceProgram
from fakerun.records.run import RankRecord


@dataclass(frozen=True, slots=True, eq=False)
class PlayedClass:
    """One class: `ranks` are ascending, `view` is that of a simulated one of them, if there is one, or of an assumed one.

    Calls of classes with the same `placement` and schedule cost the same.
    """

    number: int
    ranks: tuple[int, ...]
    view: RankView
    order: IssueOrder
    placement: Hashable

    @property
    def representative(self) -> int:
        return self.view.rank


@dataclass(frozen=True, slots=True, eq=False)
class PlayedClasses:
    """The classes in order of number. `matched` maps a queue of a class to a number that all queues share whose calls are matched with its.

    `members` has those queues by number. `unknown_members` are the labels of groups with ranks of which nothing is known. `absent` has, by
    label of groups with collectives, members that are known to issue none. `joins_programs`: ranks of a class differ in their programs.
    """

    classes: Sequence[PlayedClass]
    matched: Mapping[ClassQueue, int]
    members: Sequence[Sequence[ClassQueue]]
    unknown_members: tuple[str, ...]
    absent: Mapping[str, Sequence[int]]
    joins_programs: bool


MOST_INSTRUCTIONS = 4_000_000
"""Of the programs of all classes. 1.4 million, 405B in 16 stages, take 4.5 s of CPU."""


def played_classes(
    simulated: Sequence[RankRecord],
    assumed: Iterable[RankRecord],
    ranks_per_node: int,
    *,
    most_instructions: int = MOST_INSTRUCTIONS,
) -> PlayedClasses:
    """The classes of the simulated and assumed ranks of a run. What a call costs depends on which of a group's ranks share a node."""
    world = SimulatedWorld([*simulated, *assumed])
    partition = RankPartition(world)
    programs, placements = _Programs(), _Placements(ranks_per_node)
    equal_calls: dict[int, Hashable] = {
        rank: (partition.class_of[rank], id(view.schedule), placements.of(view, partition.issue_orders[rank]))
        for rank, view in world.ranks.items()
    }
    is_simulated = {record.rank for record in simulated}
    by_class = _refined(
        partition, {rank: (calls, programs.identity(world.ranks[rank].record.program)) for rank, calls in equal_calls.items()}
    )
    most = sum(len(world.ranks[ranks[0]].record.program.order) for ranks in by_class)
    if most > most_instructions:
        by_class = _refined(partition, equal_calls)
    classes = []
    for number, ranks in enumerate(by_class):
        representative = max(ranks, key=lambda rank: (len(world.ranks[rank].record.program.order), rank in is_simulated, -rank))
        order = partition.issue_orders[representative]
        classes.append(PlayedClass(number, tuple(ranks), world.ranks[representative], order, equal_calls[representative]))
    matched, members = _matched_queues(partition, classes)
    return PlayedClasses(classes, matched, members, _unknown_members(world), _absent(world), most > most_instructions)


def _refined(partition: RankPartition, keys: Mapping[int, Hashable]) -> Sequence[Sequence[int]]:
    """The ranks of each class, by its number, if at first the ranks with equal keys are one."""
    numbers: dict[Hashable, int] = {}
    partition.class_of = {rank: numbers.setdefault(key, len(numbers)) for rank, key in keys.items()}
    partition.refine_until_stable()
    by_class: dict[int, list[int]] = defaultdict(list)
    for rank, number in partition.class_of.items():
        by_class[number].append(rank)
    return [by_class[number] for number in range(len(by_class))]


def _matched_queues(
    partition: RankPartition, classes: Sequence[PlayedClass]
) -> tuple[Mapping[ClassQueue, int], Sequence[Sequence[ClassQueue]]]:
    union = partition.matched_queues()
    numbers: dict[ClassQueue, int] = {}
    matched: dict[ClassQueue, int] = {}
    members: list[list[ClassQueue]] = []
    for each in classes:
        for queue in dict.fromkeys(call.queue for call in each.order.calls):
            if queue is None:
                continue
            number = numbers.setdefault(union.find((each.number, queue)), len(numbers))
            matched[each.number, queue] = number
            if number == len(members):
                members.append([])
            members[number].append((each.number, queue))
    return matched, members


def _unknown_members(world: SimulatedWorld) -> tuple[str, ...]:
    """Labels of groups in use with ranks that are not in the world."""
    known = world.ranks.keys()
    return tuple(sorted({label_of(group.label) for group in world.groups if not known >= group.group_rank_of.keys()}))


def _absent(world: SimulatedWorld) -> Mapping[str, Sequence[int]]:
    """By label of groups: ranks of the world that never use the group, in which others issue collectives."""
    absent: dict[str, list[int]] = {}
    for group in world.groups:
        missing = [rank for rank in group.ranks if rank in world.ranks and rank not in group.slots] if group.slots else []
        if missing and any(_has_collectives(world.ranks[rank], slots) for rank, slots in group.slots.items()):
            absent.setdefault(label_of(group.label), []).extend(missing)
    return absent


def _has_collectives(view: RankView, slots: Iterable[int]) -> bool:
    calls = view.schedule.calls
    return any(calls[index].op not in P2P_OPS for slot in slots for index in view.schedule.indices[slot])


def label_of(label: str | None) -> str:
    """What groups without a label are called."""
    return label or "unnamed"


class _Programs:
    """Programs by identity where they are shared, else by value: to compare two takes as long as reading them."""

    def __init__(self) -> None:
        self._by_id: dict[int, DeviceProgram] = {}
        self._by_value: dict[DeviceProgram, DeviceProgram] = {}

    def identity(self, program: DeviceProgram) -> int:
        known = self._by_id.get(id(program))
        if known is None:
            known = self._by_id[id(program)] = self._by_value.setdefault(program, program)
        return id(known)


class _Placements:
    """Which ranks share nodes, as a key: in each group of a rank, and of the rank itself with its peers in p2p calls."""

    def __init__(self, ranks_per_node: int) -> None:
        self._ranks_per_node = ranks_per_node
        self._known: dict[int, int] = {}
        self._numbers: dict[Hashable, int] = {}

    def of(self, view: RankView, order: IssueOrder) -> Hashable:
        peers = []
        for index, direction in order.p2p_queues:
            group = view.groups[index]
            peer = group.ranks[(group.group_rank_of[view.rank] + direction.peer_offset) % len(group.ranks)]
            peers.append(self._node(peer) == self._node(view.rank))
        return (*map(self._of_group, view.groups), *peers)

    def _of_group(self, group: Group) -> int:
        known = self._known.get(id(group))
        if known is None:
            nodes: dict[int, int] = {}
            placement = tuple(nodes.setdefault(self._node(rank), len(nodes)) for rank in group.ranks)
            known = self._known[id(group)] = self._numbers.setdefault(placement, len(self._numbers))
        return known

    def _node(self, rank: int) -> int:
        return rank // self._ranks_per_node
