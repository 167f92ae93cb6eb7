"""Ranks of one NCCL communicator that use the same device of a node: NCCL refuses to create the communicator.

torch creates a communicator of a process group for its first collective, and another one when the ranks change to another device; for p2p
calls that are not coalesced it creates one for each pair of ranks. Sources: ProcessGroupNCCL.cpp (`getKeyFromDevice`,
`getKeySendRecv`) and NCCL's init.cc.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.memory.devices import Devices, name_devices
from fakerun.records.collective import P2P_OPS, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.records.schedule import RankCalls, Schedule, calls_of
from fakerun.units import format_ranks, name_ranks

_SHOWN = 4

_Location = tuple[int, int]
"""Node and CUDA index."""

_Communicator = tuple[str, tuple[int, ...], int]
"""c10d's name of the group, its ranks (of p2p calls the two ranks, ascending), and how many devices a rank used in it before."""


@dataclass(frozen=True, slots=True)
class _Use:
    """The first call of a schedule that needs a communicator: that of the group in `slot`, or that with one peer in it."""

    slot: int
    peer_offset: int | None
    device_number: int
    """How many devices the schedule used with this group or peer before."""
    device: int
    index: int
    """Of the call in the schedule."""


@dataclass(frozen=True, slots=True)
class _Duplicate:
    """Ranks of one communicator on one device. `call` is the first one that needs the communicator, on the first of the ranks."""

    location: _Location
    ranks: tuple[int, ...]
    call: CollectiveRecord


def duplicate_gpu_findings(records: Iterable[RankRecord], devices: Mapping[int, Devices], *, ranks_per_node: int) -> tuple[Finding, ...]:
    """One `duplicate-gpu` for all communicators with such ranks; it describes the first one that is created."""
    duplicates = sorted(_duplicates(records, devices, ranks_per_node), key=lambda each: (each.call.seq, each.ranks))
    return (_finding(duplicates),) if duplicates else ()


def _finding(duplicates: Sequence[_Duplicate]) -> Finding:
    first = duplicates[0]
    one, other = first.ranks[:2]
    return Finding(
        code=FindingCode.DUPLICATE_GPU,
        message=(
            f"Duplicate GPU detected : rank {other} and rank {one} both on CUDA device {first.location[1]}. NCCL makes no communicator for "
            f"{first.call.op} on group {_group(first.call)}: ranks {format_ranks(first.ranks)} all use {name_devices([first.location])}"
            f"{_also(duplicates)}"
        ),
        ranks=tuple(sorted({rank for each in duplicates for rank in each.ranks})),
        call_site=first.call.call_site,
        hint=(
            'Call torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before the first collective, '
            "or give init_process_group the rank's device_id."
        ),
    )


def _also(duplicates: Sequence[_Duplicate]) -> str:
    """Other devices and groups with duplicates: `; the same on cuda:0 of node 1, and in group dp`."""
    first = duplicates[0].call
    locations = sorted({each.location for each in duplicates} - {duplicates[0].location})
    groups = sorted({_group(each.call) for each in duplicates} - {_group(first)})
    parts = [f"on {name_devices(locations)}"] if locations else []
    parts += [f"in group{'s' * (len(groups) > 1)} {_listed(groups)}"] if groups else []
    return f"; the same {' and '.join(parts)}" if parts else ""


def _group(call: CollectiveRecord) -> str:
    return call.group or f"of {name_ranks(call.group_ranks)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _duplicates(records: Iterable[RankRecord], devices: Mapping[int, Devices], ranks_per_node: int) -> Iterator[_Duplicate]:
    """Compares calls only of ranks that share a device: usually there are none."""
    uses = _Uses()
    calls = {record.rank: calls_of(record.rank, record.collectives) for record in records}
    at: defaultdict[_Location, list[int]] = defaultdict(list)
    for rank, each in calls.items():
        used = {use.device for use in uses.of(each.schedule)}
        for index in {index for device in used if (index := devices[rank][device]) is not None}:
            at[rank // ranks_per_node, index].append(rank)
    for location, ranks in at.items():
        if len(ranks) > 1:
            yield from _at(location, {rank: calls[rank] for rank in sorted(ranks)}, devices, uses)


def _at(location: _Location, calls: Mapping[int, RankCalls], devices: Mapping[int, Devices], uses: "_Uses") -> Iterator[_Duplicate]:
    members: defaultdict[_Communicator, dict[int, int]] = defaultdict(dict)  # by rank, the index of the call
    for rank, each in calls.items():
        for use in uses.of(each.schedule):
            if devices[rank][use.device] == location[1]:
                members[_communicator(rank, each, use)].setdefault(rank, use.index)
    for indices in members.values():
        if len(indices) > 1:
            ranks = tuple(indices)
            yield _Duplicate(location, ranks, calls[ranks[0]][indices[ranks[0]]])


def _communicator(rank: int, calls: RankCalls, use: _Use) -> _Communicator:
    group = calls.groups[use.slot]
    if use.peer_offset is None:
        return group.name, group.ranks, use.device_number
    peer = calls[use.index].peer
    return group.name, tuple(sorted((rank, rank if peer is None else peer))), use.device_number


class _Uses:
    """The communicators that each distinct schedule needs, found once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Schedule, tuple[_Use, ...]]] = {}  # the schedule keeps its identity from being reused

    def of(self, schedule: Schedule) -> tuple[_Use, ...]:
        known = self._known.get(id(schedule))
        if known is None:
            known = self._known[id(schedule)] = (schedule, tuple(_uses(schedule)))
        return known[1]


def _uses(schedule: Schedule) -> Iterator[_Use]:
    seen: defaultdict[tuple[int, int | None], list[int]] = defaultdict(list)  # devices in order of use, by group and peer
    for index, call in enumerate(schedule.calls):
        if call.device is None:
            continue
        pair = call.peer_offset if call.op in P2P_OPS and call.coalesced is None else None
        before = seen[call.slot, pair]
        if call.device not in before:
            yield _Use(call.slot, pair, len(before), call.device, index)
            before.append(call.device)
