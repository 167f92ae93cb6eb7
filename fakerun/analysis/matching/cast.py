"""Who takes part: the simulated ranks, the process groups that they meet in, and which groups are alike.

Groups whose members do the same, place by place, need to be compared once: what is found in one is found in all of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fakerun.analysis.matching.traces import Trace, Traces, View
from fakerun.records.collective import CollectiveRecord
from fakerun.records.run import RankRecord
from fakerun.records.schedule import Calls, calls_of
from fakerun.units import format_ranks


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A process group: what it is called, c10d's own name, its ranks in order, the place of each; by rank, the slots that it is."""

    label: str | None
    name: str
    ranks: tuple[int, ...]
    places: Mapping[int, int]
    users: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What messages call it: by its name, else by its ranks."""
        return f"of ranks {format_ranks(self.ranks)}" if self.label is None else self.label


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A simulated rank. `ports` are its groups, each once; `port_of` says by slot which one is used."""

    record: RankRecord
    calls: Calls
    trace: Trace
    ports: tuple[Group, ...]
    port_of: tuple[int, ...]

    @property
    def rank(self) -> int:
        return self.record.rank


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Groups whose members do the same. `pattern` has by place what the member does, None for one that is not simulated."""

    pattern: tuple[View | None, ...]
    groups: tuple[Group, ...]

    @property
    def group(self) -> Group:
        """The one to speak of."""
        return self.groups[0]

    def members(self) -> Iterator[tuple[int, View]]:
        """The simulated members of that group."""
        return ((rank, view) for rank, view in zip(self.group.ranks, self.pattern, strict=True) if view is not None)


class Cast:
    """The simulated ranks in order, and their groups."""

    def __init__(self, ranks: Sequence[RankRecord]) -> None:
        self.traces = Traces()
        self._places: dict[int, Mapping[int, int]] = {}
        self._ranks: dict[tuple[int, ...], Mapping[int, int]] = {}
        self._groups: dict[tuple[str, int], Group] = {}
        self.seats: Mapping[int, Seat] = {record.rank: self._seat(record) for record in sorted(ranks, key=lambda record: record.rank)}

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(self._groups.values())

    def view(self, rank: int, group: Group) -> View:
        """What a simulated rank does on a group."""
        return self.traces.view(self.seats[rank].trace, group.users.get(rank, ()))

    def record(self, rank: int, index: int) -> CollectiveRecord:
        """A call of a simulated rank."""
        return self.seats[rank].calls[index]

    def families(self) -> list[Family]:
        """All groups of more than one member, those that are alike together."""
        alike: dict[tuple[View | None, ...], list[Group]] = defaultdict(list)
        for group in self.groups:
            pattern = tuple(self.view(rank, group) if rank in self.seats else None for rank in group.ranks)
            alike[pattern].append(group)
        return [Family(pattern, tuple(groups)) for pattern, groups in alike.items()]

    def _seat(self, record: RankRecord) -> Seat:
        calls = calls_of(record.rank, record.collectives)
        ports: dict[Group, int] = {}
        port_of = []
        for slot, group in enumerate(calls.groups):
            shared = self._group(group.label, group.name, group.ranks)
            if record.rank in shared.places:
                shared.users[record.rank] = (*shared.users.get(record.rank, ()), slot)
            port_of.append(ports.setdefault(shared, len(ports)))
        trace = self.traces.of(calls, lasting=calls is record.collectives)
        return Seat(record, Calls(record.rank, trace.schedule, calls.groups), trace, tuple(ports), tuple(port_of))

    def _group(self, label: str | None, name: str, ranks: tuple[int, ...]) -> Group:
        places = self._places_in(ranks)
        key = name, id(places)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(label, name, ranks, places)
        return group

    def _places_in(self, ranks: tuple[int, ...]) -> Mapping[int, int]:
        """Known by identity first: the ranks of a large job are many, and are as a rule one object in all records."""
        places = self._places.get(id(ranks))
        if places is None:
            places = self._ranks.get(ranks)
            if places is None:
                places = self._ranks[ranks] = {rank: place for place, rank in enumerate(ranks)}
            self._places[id(ranks)] = places
        return places
