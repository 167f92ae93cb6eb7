"""Classes of groups whose members do the same, group rank by group rank: what is found in one group is found in all of its class."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fakerun.analysis.dependency import Group, SimulatedWorld
from fakerun.analysis.matching.compare.interning import GroupCalls, InternedCalls


@dataclass(frozen=True, slots=True, eq=False)
class GroupClass:
    """Groups of one class. `member_calls` has for each group rank what the member does, None for one that is not simulated.

    `blocked` are the group ranks of members that wait for ever, in this group or elsewhere: their calls end there.
    """

    member_calls: tuple[GroupCalls | None, ...]
    blocked: frozenset[int]
    groups: tuple[Group, ...]

    @property
    def group(self) -> Group:
        """The group that findings describe."""
        return self.groups[0]

    @property
    def simulated(self) -> int:
        """How many members of each group are simulated."""
        return sum(calls is not None for calls in self.member_calls)

    def members(self) -> Iterator[tuple[int, GroupCalls]]:
        """The simulated members of `group`, as global ranks, with what they do."""
        return ((rank, calls) for rank, calls in zip(self.group.ranks, self.member_calls, strict=True) if calls is not None)

    def ranks_of(self, group_ranks: Sequence[int]) -> frozenset[int]:
        """The global ranks that have these group ranks in any group of the class."""
        return frozenset(group.ranks[group_rank] for group in self.groups for group_rank in group_ranks)


def group_classes(world: SimulatedWorld, interned: InternedCalls) -> list[GroupClass]:
    """The classes of all groups of a world."""
    classes: dict[tuple[tuple[GroupCalls | None, ...], frozenset[int]], list[Group]] = defaultdict(list)
    for group in world.groups:
        member_calls = tuple(interned.of(rank, group) if rank in world.ranks else None for rank in group.ranks)
        blocked = frozenset(group.group_rank_of[rank] for rank in world.blocked if rank in group.group_rank_of)
        classes[member_calls, blocked].append(group)
    return [GroupClass(member_calls, blocked, tuple(groups)) for (member_calls, blocked), groups in classes.items()]
