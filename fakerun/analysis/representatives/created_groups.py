"""The groups that all ranks create, members or not: known for every rank of the world from the record of one.

Groups of one size that one line creates are a kind: a loop over all nodes, or over all data parallel groups, makes one for each rank.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from fakerun.call_site import CallSite
from fakerun.records.run import GroupCreation, RankRecord

Members = tuple[int, ...]
Kind = tuple[CallSite | None, int]
"""The line that creates groups, and their size."""


class CreatedGroups:
    """The groups in the records of simulated ranks. Those that only their members create are not among them."""

    def __init__(self, records: Iterable[RankRecord], world_size: int) -> None:
        self._world_size = world_size
        self._creations: dict[Kind, dict[Members, GroupCreation]] = defaultdict(dict)
        """By kind the distinct creations, by their members group by group."""
        for creations in {id(record.group_creations): record.group_creations for record in records}.values():
            for creation in creations:
                if creation.callers is None and creation.count:
                    self._creations[creation.call_site, len(creation.ranks) // creation.count].setdefault(creation.ranks, creation)
        self._kinds: dict[Members, Kind] = {}
        self._groups_of: dict[Kind, Mapping[int, list[Members]]] = {}

    def memberships(self) -> Iterator[tuple[Kind, list[int]]]:
        """For each kind of group, of how many of them each rank is a member."""
        for kind, creations in self._creations.items():
            counts: Counter[int] = Counter()
            for ranks in creations:
                counts.update(ranks)
            yield kind, [counts[rank] for rank in range(self._world_size)]

    def exists(self, members: Members) -> bool:
        """Whether there is a group of these ranks, in this order."""
        return members in self._kinds_of_groups()

    def of_the_kind(self, members: Members, rank: int) -> Members | None:
        """The group that `rank` is in, of the kind of the group of `members`; None if there is none, or several."""
        kind = self._kinds_of_groups().get(members)
        if kind is None:
            return None
        found = self._by_rank(kind).get(rank, [])
        return found[0] if len(found) == 1 else None

    def _kinds_of_groups(self) -> Mapping[Members, Kind]:
        if not self._kinds:
            self._kinds = {group: kind for kind in self._creations for group in self._groups(kind)}
        return self._kinds

    def _groups(self, kind: Kind) -> Iterator[Members]:
        return (group for creation in self._creations[kind].values() for group in creation.each())

    def _by_rank(self, kind: Kind) -> Mapping[int, list[Members]]:
        if kind not in self._groups_of:
            groups: defaultdict[int, list[Members]] = defaultdict(list)
            for group in dict.fromkeys(self._groups(kind)):
                for rank in group:
                    groups[rank].append(group)
            self._groups_of[kind] = groups
        return self._groups_of[kind]
