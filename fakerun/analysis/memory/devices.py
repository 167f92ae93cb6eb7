"""The physical devices of the nodes: which ranks use each, and what each of these ranks needs there.

A record has the CUDA indices of the devices that its rank used. For an assumed rank they are extrapolated from its local rank, along the
line through the (local rank, CUDA index) pairs of the simulated ranks of its class. If these ranks all have one local rank, a device with
that index is taken to be each rank's own, and any other device to be the same for all ranks.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fakerun.analysis.classes import RankClass
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.analysis.memory.reserved import ReservedMemory
from fakerun.records.run import RankRecord
from fakerun.units import format_ranks

Devices = tuple[int | None, ...]
"""CUDA indices of the devices that a rank uses, by ordinal; None for one that is unknown."""

_Pair = tuple[int, int]
"""Local rank and CUDA index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
    """What one rank needs of a device."""

    rank: int
    need: DeviceNeed

    @property
    def footprint(self) -> MemoryFootprint:
        """What it allocates."""
        return self.need.footprint

    @property
    def reserved(self) -> ReservedMemory:
        """What its allocator reserves."""
        return self.need.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksOfPeak:
    """Ranks that have the same peaks on a device, in order."""

    reserved_bytes: int
    allocated_bytes: int
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalDevice:
    """One device of a node, and the ranks that allocate memory on it, in order.

    `own_rank` is the rank with the device's index as its local rank, None if there is none. `uncounted` are the ranks of the node of
    which nothing is known: they were neither simulated nor assumed to match a simulated rank.
    """

    node: int
    cuda_index: int
    own_rank: int | None
    shares: tuple[DeviceShare, ...]
    uncounted: tuple[int, ...] = ()

    @property
    def location(self) -> tuple[int, int]:
        """Node and CUDA index."""
        return self.node, self.cuda_index

    @property
    def peak_bytes(self) -> int:
        """The sum of what the ranks reserve at their peaks: of several an upper bound, as they may peak at different times."""
        return sum(share.reserved.peak_bytes for share in self.shares)

    @property
    def peak_allocated_bytes(self) -> int:
        """The sum of what the ranks allocate at their peaks, likewise."""
        return sum(share.footprint.peak_bytes for share in self.shares)

    @property
    def outside_low_bytes(self) -> int:
        """The least that the ranks' processes hold beside what their allocators reserve."""
        return sum(share.need.outside_low_bytes for share in self.shares)

    @property
    def outside_high_bytes(self) -> int:
        """The most that they hold beside that."""
        return sum(share.need.outside_high_bytes for share in self.shares)

    @property
    def not_included_bytes(self) -> int:
        """The most that is known of what their kernels request and `peak_bytes` has not."""
        return sum(share.need.not_included_bytes for share in self.shares)

    @property
    def runs_out(self) -> bool:
        """Whether an allocator fails there although it gives back all that it caches. Of several ranks each keeps what it allocates."""
        return any(share.need.runs_out for share in self.shares)

    @property
    def is_shared(self) -> bool:
        """Whether several ranks allocate on it."""
        return len(self.shares) > 1

    @property
    def foreign_shares(self) -> tuple[DeviceShare, ...]:
        """The shares of ranks other than `own_rank`."""
        return tuple(share for share in self.shares if share.rank != self.own_rank)

    @property
    def ranks_by_peak(self) -> tuple[RanksOfPeak, ...]:
        """The ranks, those with equal peaks together, the highest first."""

        def peaks(share: DeviceShare) -> tuple[int, int]:
            return share.reserved.peak_bytes, share.footprint.peak_bytes

        by_peak = sorted(self.shares, key=lambda share: ([-peak for peak in peaks(share)], share.rank))
        return tuple(
            RanksOfPeak(reserved_bytes=reserved, allocated_bytes=allocated, ranks=tuple(each.rank for each in same))
            for (reserved, allocated), same in groupby(by_peak, key=peaks)
        )


def name_devices(locations: Iterable[tuple[int, int]]) -> str:
    """Devices given by node and CUDA index, as text: `cuda:0 of node 0`, `cuda:0 of nodes 1-31, cuda:1 of node 4`."""
    nodes: defaultdict[int, list[int]] = defaultdict(list)
    for node, index in locations:
        nodes[index].append(node)
    return ", ".join(f"cuda:{index} of node{'s' * (len(nodes[index]) > 1)} {format_ranks(nodes[index])}" for index in sorted(nodes))


def devices_of_ranks(records: Iterable[RankRecord], classes: Sequence[RankClass], *, ranks_per_node: int) -> dict[int, Devices]:
    """The devices of every rank that was simulated or assumed to match a simulated one."""
    simulated = {record.rank: record.devices for record in records}
    found: dict[int, Devices] = dict(simulated)
    everywhere = _pairs(simulated, simulated, ranks_per_node)
    for each in classes:
        if each.assumed:
            pairs = _pairs(each.simulated, simulated, ranks_per_node)
            lines = [_line(here, everywhere[key]) for key, here in sorted(pairs.items())]
            for rank in each.assumed:
                found[rank] = tuple(_on_line(line, rank % ranks_per_node) for line in lines)
    return found


def physical_devices(
    needs: Mapping[int, Mapping[int, DeviceNeed]], devices: Mapping[int, Devices], *, ranks_per_node: int
) -> tuple[PhysicalDevice, ...]:
    """The devices that memory is allocated on, by node and index; `needs` are by rank and ordinal."""
    shares: defaultdict[tuple[int, int], list[DeviceShare]] = defaultdict(list)
    for rank in sorted(needs):
        for ordinal, need in needs[rank].items():
            index = devices[rank][ordinal]
            if index is not None and need.footprint.peak_bytes:
                shares[rank // ranks_per_node, index].append(DeviceShare(rank=rank, need=need))
    uncounted = {node: _unknown_ranks(node, devices, ranks_per_node) for node in {node for node, _ in shares}}
    return tuple(
        PhysicalDevice(
            node=node,
            cuda_index=index,
            own_rank=node * ranks_per_node + index if index < ranks_per_node else None,
            shares=tuple(shares[node, index]),
            uncounted=uncounted[node],
        )
        for node, index in sorted(shares)
    )


def _unknown_ranks(node: int, devices: Mapping[int, Devices], ranks_per_node: int) -> tuple[int, ...]:
    return tuple(rank for rank in range(node * ranks_per_node, (node + 1) * ranks_per_node) if rank not in devices)


def _pairs(ranks: Iterable[int], devices: Mapping[int, tuple[int, ...]], ranks_per_node: int) -> dict[_Pair, set[_Pair]]:
    """Known pairs of local rank and CUDA index, by number of devices and ordinal."""
    pairs: defaultdict[_Pair, set[_Pair]] = defaultdict(set)
    for rank in ranks:
        for ordinal, index in enumerate(devices[rank]):
            pairs[len(devices[rank]), ordinal].add((rank % ranks_per_node, index))
    return pairs


def _line(here: Collection[_Pair], everywhere: Collection[_Pair]) -> _Pair | None:
    """Slope and offset of the line through the pairs of a class; None if there is none.

    The pairs of a single local rank lie on many lines: then the pairs of all simulated ranks decide, if they lie on one line.
    """
    if len({local_rank for local_rank, _ in here}) > 1:
        return _through(here)
    if len({local_rank for local_rank, _ in everywhere}) > 1 and (line := _through(everywhere)) is not None:
        return line
    (local_rank, index), *contradictions = here
    if contradictions:
        return None
    return (1, 0) if index == local_rank else (0, index)


def _through(pairs: Collection[_Pair]) -> _Pair | None:
    (first, at_first), (last, at_last) = min(pairs), max(pairs)
    slope, remainder = divmod(at_last - at_first, last - first)
    offset = at_first - slope * first
    is_line = not remainder and all(index == slope * local_rank + offset for local_rank, index in pairs)
    return (slope, offset) if is_line else None


def _on_line(line: _Pair | None, local_rank: int) -> int | None:
    if line is None:
        return None
    slope, offset = line
    index = slope * local_rank + offset
    return index if index >= 0 else None
