"""What one rank communicates: its calls grouped by operation, group and dtype, with counts and bytes for each step.

`nbytes` and `bus_bytes` are those of `CollectiveRecord`: the nccl-tests message size, and the bytes that cross this rank's links;
`inter_node_bytes` is the part of the latter that leaves the node.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from fakerun.analysis.links import NodeOfRank
from fakerun.records.collective import CollectiveOp, CollectiveRecord

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Calls and their bytes."""

    calls: int = 0
    nbytes: int = 0
    bus_bytes: int = 0
    inter_node_bytes: int = 0
    """The part of `bus_bytes` that crosses between nodes."""

    @property
    def intra_node_bytes(self) -> int:
        """The part of `bus_bytes` that stays on the node."""
        return self.bus_bytes - self.inter_node_bytes

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(
            calls=self.calls + other.calls,
            nbytes=self.nbytes + other.nbytes,
            bus_bytes=self.bus_bytes + other.bus_bytes,
            inter_node_bytes=self.inter_node_bytes + other.inter_node_bytes,
        )


Call: TypeAlias = tuple[CollectiveRecord, Volume]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVolumes:
    """The volume of each completed step, and of the calls after the last one: an incomplete step, or the end of the script."""

    per_step: tuple[Volume, ...] = ()
    after: Volume = Volume()

    @property
    def by_size(self) -> tuple[int, ...]:
        """Sort key, the largest first: bytes, then calls, of the last step, the first step and the calls after the last step."""
        parts = (*self.per_step[-1:], *self.per_step[:1], self.after)
        return tuple(-part.nbytes for part in parts) + tuple(-part.calls for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRow:
    """The calls of one operation on one group with one dtype. `group_ranks` are global ranks in group order."""

    op: CollectiveOp
    group: str | None
    group_ranks: tuple[int, ...]
    dtype: str
    volumes: StepVolumes

    @property
    def group_size(self) -> int:
        return len(self.group_ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTraffic:
    """All calls on one group. `group_ranks` are global ranks in group order."""

    group: str | None
    group_ranks: tuple[int, ...]
    volumes: StepVolumes

    @property
    def group_size(self) -> int:
        return len(self.group_ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One rank's communication over `steps` completed steps; rows and groups largest first."""

    steps: int
    rows: tuple[TrafficRow, ...]
    groups: tuple[GroupTraffic, ...]
    total: StepVolumes

    @property
    def steps_are_equal(self) -> bool:
        """Whether each row has the same volume in every completed step."""
        return all(len(set(row.volumes.per_step)) <= 1 for row in self.rows)


def traffic_of(collectives: Iterable[CollectiveRecord], node: NodeOfRank, *, steps: int) -> Traffic:
    """Group the calls of a rank, which is on `node`; those of step `steps` and later count as after the last completed step."""
    volume = _volume_of(node)
    calls = [(record, volume(record)) for record in collectives]
    rows = (
        TrafficRow(op=op, group=group, group_ranks=ranks, dtype=dtype, volumes=volumes)
        for (op, group, ranks, dtype), volumes in _grouped(calls, _operation, steps).items()
    )
    groups = (
        GroupTraffic(group=group, group_ranks=ranks, volumes=volumes) for (group, ranks), volumes in _grouped(calls, _group, steps).items()
    )
    return Traffic(
        steps=steps,
        rows=tuple(sorted(rows, key=lambda row: (row.volumes.by_size, row.op, row.group or "", row.group_ranks, row.dtype))),
        groups=tuple(sorted(groups, key=lambda group: (group.volumes.by_size, group.group or "", group.group_ranks))),
        total=_step_volumes(calls, steps),
    )


def _volume_of(node: NodeOfRank) -> Callable[[CollectiveRecord], Volume]:
    """The volume of a call, computed once for calls that differ in nothing that counts: a group may have thousands of ranks.

    Their ranks are compared by identity, which is as quick for any number of them; the caller keeps the records while it asks.
    """
    known: dict[object, Volume] = {}

    def volume(record: CollectiveRecord) -> Volume:
        key = (record.op, id(record.group_ranks), record.nbytes, record.root, record.peer, record.input_splits)
        if key not in known:
            known[key] = Volume(calls=1, nbytes=record.nbytes, bus_bytes=record.bus_bytes, inter_node_bytes=node.inter_node_bytes(record))
        return known[key]

    return volume


def _operation(record: CollectiveRecord) -> tuple[CollectiveOp, str | None, tuple[int, ...], str]:
    return record.op, record.group, record.group_ranks, record.dtype


def _group(record: CollectiveRecord) -> tuple[str | None, tuple[int, ...]]:
    return record.group, record.group_ranks


def _grouped(calls: Iterable[Call], key: Callable[[CollectiveRecord], Key], steps: int) -> dict[Key, StepVolumes]:
    members: dict[Key, list[Call]] = {}
    for record, volume in calls:
        members.setdefault(key(record), []).append((record, volume))
    return {group: _step_volumes(of_group, steps) for group, of_group in members.items()}


def _step_volumes(calls: Iterable[Call], steps: int) -> StepVolumes:
    volumes = [Volume()] * (steps + 1)
    for record, volume in calls:
        volumes[min(record.step, steps)] += volume
    return StepVolumes(per_step=tuple(volumes[:steps]), after=volumes[steps])
