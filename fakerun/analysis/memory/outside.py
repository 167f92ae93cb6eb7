"""What lives on a device outside the caching allocator: the process's context with its loaded kernels, and NCCL's buffers.

Ranges, not figures: how many kernels a program loads, which algorithms NCCL chooses and which driver runs is not known. The data and
their sources are in `hardware/outside_memory.yaml`. Other users of a device are other ranks, each counted with its own record.

A communicator exists for each process group that communicated on the device, and for each pair of ranks that sent to each other without
coalescing (ProcessGroupNCCL.cpp, `getKeySendRecv`). Its buffers are those of its connections: two for each channel of a ring, more where
NCCL also builds trees, one for each channel and peer of p2p calls and of all-to-all, and the multicast buffers of a node (NVLS). That of a
group of one rank has none of these, and took memory all the same where it was measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fakerun.analysis.links import NodeOfRank
from fakerun.hardware.accelerator import Accelerator, Interconnect
from fakerun.hardware.outside_memory import LinkKind, NcclBuffers, context_range, outside_figures
from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord
from fakerun.units import format_ranks

CONTEXT = "CUDA context and loaded kernels"
HIP_CONTEXT = "HIP context and loaded kernels"

_USUAL_NODE = 8
_TO_EVERY_PEER = frozenset({CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE, CollectiveOp.GATHER, CollectiveOp.SCATTER})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideMemory:
    """One thing that a rank's process holds on a device: between `low_bytes` and `high_bytes`. `device` is an ordinal of the record."""

    device: int
    what: str
    low_bytes: int
    high_bytes: int
    source: str


def outside_memory(record: RankRecord, hardware: Accelerator, *, ranks_per_node: int | None = None) -> tuple[OutsideMemory, ...]:
    """What the rank's process holds on each of its devices, in order of the devices; on each its context first.

    `ranks_per_node` is the hardware's usual number of devices, or 8, if not given.
    """
    node = NodeOfRank(rank=record.rank, ranks_per_node=ranks_per_node or hardware.interconnect.devices_per_node or _USUAL_NODE)
    context = context_range(hardware)
    communicators = _communicators(record)
    library_bytes = 0 if hardware.is_amd else outside_figures().nccl.library_bytes
    return tuple(
        each
        for device in range(len(record.devices))
        for each in (
            OutsideMemory(
                device=device,
                what=HIP_CONTEXT if hardware.is_amd else CONTEXT,
                low_bytes=context.low_bytes,
                high_bytes=context.high_bytes + (library_bytes if any(use.device == device for use in communicators.values()) else 0),
                source=context.source,
            ),
            *(_buffers(use, node, hardware) for use in communicators.values() if use.device == device),
        )
    )


@dataclass(slots=True)
class _Communicator:
    """A communicator on one device: its ranks, whether it ran collectives along rings, and the peers of its p2p calls."""

    device: int
    name: str
    ranks: tuple[int, ...]
    has_rings: bool = False
    peers: set[int] = field(default_factory=set)


def _communicators(record: RankRecord) -> Mapping[tuple[int, str, tuple[int, ...]], _Communicator]:
    """By device, c10d's name of the group and ranks, in order of first use."""
    found: dict[tuple[int, str, tuple[int, ...]], _Communicator] = {}
    for call in record.collectives:
        if call.device is None:
            continue
        pair = call.op in P2P_OPS and call.coalesced is None and call.peer is not None
        ranks = tuple(sorted((record.rank, call.peer))) if pair and call.peer is not None else call.group_ranks
        key = (call.device, call.process_group, ranks)
        if key not in found:
            found[key] = _Communicator(call.device, call.group or f"of ranks {format_ranks(ranks)}", ranks)
        _add_use(found[key], call, record.rank)
    return found


def _add_use(communicator: _Communicator, call: CollectiveRecord, rank: int) -> None:
    if call.op in P2P_OPS:
        communicator.peers |= {call.peer} - {None}  # type: ignore[arg-type]  # a p2p call of a record that was cut off may lack it
    elif call.op in _TO_EVERY_PEER:
        communicator.peers |= set(call.group_ranks) - {rank}
    else:
        communicator.has_rings = True


def _buffers(communicator: _Communicator, node: NodeOfRank, hardware: Accelerator) -> OutsideMemory:
    nccl = outside_figures().nccl
    if len(communicator.ranks) == 1:
        parts = [(0, 0 if hardware.is_amd else nccl.one_rank_bytes)]
    else:
        parts = [*_of_rings(communicator, node, hardware, nccl), *_of_peers(communicator, node, hardware, nccl)]
    library = "RCCL" if hardware.is_amd else "NCCL"
    return OutsideMemory(
        device=communicator.device,
        what=f"{library} buffers of group {communicator.name}",
        low_bytes=sum(low for low, _ in parts),
        high_bytes=sum(high for _, high in parts),
        source=nccl.source,
    )


def _of_rings(communicator: _Communicator, node: NodeOfRank, hardware: Accelerator, nccl: NcclBuffers) -> Iterator[tuple[int, int]]:
    """Rings and, at most, trees; within a node with multicast at most NVLS, which takes more than two ranks."""
    if not communicator.has_rings:
        return
    here = [rank for rank in communicator.ranks if not node.is_remote(rank)]
    kind = _slowest_link(communicator.ranks, node, hardware.interconnect, is_amd=hardware.is_amd)
    pair = 2 * nccl.network_bytes if kind is LinkKind.NETWORK else nccl.receive_bytes + nccl.send_bytes
    channels = nccl.channels[kind]
    yield channels.low * nccl.low_pairs * pair, channels.high * nccl.high_pairs * pair
    if kind in (LinkKind.NVLINK, LinkKind.NETWORK) and len(here) > 2:
        yield 0, nccl.nvls_channels.get(hardware.compute_capability, 0) * nccl.nvls_bytes * len(here)


def _of_peers(communicator: _Communicator, node: NodeOfRank, hardware: Accelerator, nccl: NcclBuffers) -> Iterator[tuple[int, int]]:
    """A sending and a receiving connection in each channel to each peer: of one channel, if little is sent, to all."""
    links = [_slowest_link((node.rank, peer), node, hardware.interconnect, is_amd=hardware.is_amd) for peer in communicator.peers]
    pair = nccl.receive_bytes + nccl.send_bytes
    for kind in links:
        if kind is not LinkKind.NETWORK:
            yield pair if kind is not LinkKind.PCIE else 0, nccl.channels[kind].peer * pair
    if LinkKind.NETWORK in links:
        yield 0, nccl.network_p2p_bytes


def _slowest_link(ranks: tuple[int, ...], node: NodeOfRank, interconnect: Interconnect, *, is_amd: bool) -> LinkKind:
    """What joins the ranks: the network as soon as it is between two of them."""
    domain = interconnect.domain_size if interconnect.link else None
    if domain and len({rank // domain for rank in ranks}) == 1:
        return LinkKind.XGMI if is_amd else LinkKind.NVLINK
    return LinkKind.NETWORK if any(map(node.is_remote, ranks)) else LinkKind.PCIE
