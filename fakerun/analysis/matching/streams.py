"""What each rank issued on each process group, in order: collectives and messages apart, as they are matched in different ways."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord

MESSAGES = frozenset({CollectiveOp.SEND, CollectiveOp.RECV})


@dataclass(frozen=True, slots=True)
class Group:
    """A process group: c10d's name for it, and its ranks."""

    name: str
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """Messages from one rank to another, in a group, with a tag."""

    group: Group
    source: int
    target: int
    tag: int


Stream = list[CollectiveRecord]


def collective_streams(ranks: Iterable[RankRecord]) -> Mapping[Group, Mapping[int, Stream]]:
    """By group, the collectives of each simulated member; of one that issued none, an empty stream."""
    simulated = [rank.rank for rank in ranks]
    streams: dict[Group, dict[int, Stream]] = {}
    for rank in ranks:
        for record in rank.collectives:
            if record.op not in MESSAGES:
                group = Group(record.process_group, record.group_ranks)
                if group not in streams:
                    members = set(record.group_ranks)
                    streams[group] = {member: [] for member in simulated if member in members}
                streams[group].setdefault(rank.rank, []).append(record)
    return streams


def message_streams(ranks: Iterable[RankRecord]) -> Mapping[Channel, tuple[Stream, Stream]]:
    """By channel, what its source sent and what its target received. Messages from whoever comes first are left out."""
    channels: dict[Channel, tuple[Stream, Stream]] = defaultdict(lambda: ([], []))
    for rank in ranks:
        for record in rank.collectives:
            if record.op not in MESSAGES or record.peer is None:
                continue
            group = Group(record.process_group, record.group_ranks)
            if record.op is CollectiveOp.SEND:
                channels[Channel(group, rank.rank, record.peer, record.tag or 0)][0].append(record)
            else:
                channels[Channel(group, record.peer, rank.rank, record.tag or 0)][1].append(record)
    return channels
