"""Calls between nodes: what moves inside the nodes and what passes their NICs overlap, and the slower decides."""

from dataclasses import dataclass
from math import log2

from fakerun.analysis.time.communication.curves import Estimate
from fakerun.analysis.time.communication.in_node import InNode
from fakerun.analysis.time.communication.placement import Placement
from fakerun.analysis.time.costs import Basis
from fakerun.hardware.accelerator import Interconnect
from fakerun.hardware.collective_times import CollectiveKind, bus_share

NIC_SHARE = 0.94
"""Of a NIC's rate, what large messages reach."""

_HIDDEN_SHARE = 0.91
"""Of the faster of the two parts, what passes while the slower one does."""

USUAL_NIC_LATENCY_S = 18e-6
"""Taken where a fabric's latency is not known: InfiniBand and RoCE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcrossNodes:
    """Nodes of `devices_on_node` devices, `ranks_on_node` of them with a rank, and the fabric between them.

    A node is what NVLink joins, and has `nics`, of each of which the rate in one direction is given.
    """

    node: InNode
    ranks_on_node: int
    devices_on_node: int
    nics: int
    nic_bytes_per_s: float
    latency_s: float

    def estimate(self, kind: CollectiveKind, nbytes: float, where: Placement, *, may_multicast: bool) -> Estimate | None:
        """The time of a call of ranks of several nodes; None if nothing is known of the links inside them."""
        if kind is CollectiveKind.SEND_RECV:
            return Estimate(seconds=nbytes / self._rate_of(1) + self.latency_s, basis=Basis.ROOFLINE)
        inside = self._inside(kind, nbytes, where, may_multicast)
        if inside is None:
            return None
        passing = self._passing(kind, nbytes, where)
        moving = max(inside, passing) + (1 - _HIDDEN_SHARE) * min(inside, passing)
        return Estimate(seconds=moving + self._latency(kind, where), basis=Basis.ROOFLINE)

    def _inside(self, kind: CollectiveKind, nbytes: float, where: Placement, may_multicast: bool) -> float | None:
        """Seconds that the call takes of the links of the fullest node, by what a group of the node would take."""
        ranks = where.ranks_on_node
        if ranks == 1:
            return 0.0
        alone = self.node.estimate(kind, nbytes, ranks, may_multicast=may_multicast)
        if alone is None:
            return None
        inside = alone.seconds * self._scale(kind, where)
        ring = self.node.ring_bytes_per_s()
        if kind is CollectiveKind.ALL_REDUCE and where.nodes > 2 and ring:
            inside = max(inside, nbytes * bus_share(kind, where.ranks) / ring)
        return inside

    def _scale(self, kind: CollectiveKind, where: Placement) -> float:
        """How much more of the message passes a link inside the node than if the group were on one node."""
        if kind is CollectiveKind.ALL_TO_ALL:
            return where.ranks_on_node / where.ranks
        return bus_share(kind, where.ranks) / bus_share(kind, where.ranks_on_node)

    def _passing(self, kind: CollectiveKind, nbytes: float, where: Placement) -> float:
        """Seconds that the bytes which leave the fullest node take of its NICs.

        A ring passes each node once. Of an all-to-all every rank of the node sends to every rank of the others; a root has one NIC.
        A tree over two nodes sends the message there once, reduced, and back once.
        """
        rate = self._rate_of(where.ranks_on_node)
        if kind is CollectiveKind.ALL_TO_ALL:
            return where.ranks_on_node * nbytes * (where.ranks - where.ranks_on_node) / where.ranks / rate
        if kind in (CollectiveKind.GATHER, CollectiveKind.SCATTER):
            return nbytes * (where.ranks - where.ranks_on_node) / where.ranks / self._rate_of(1)
        whole = nbytes * bus_share(kind, where.ranks) / rate
        return whole / 2 if kind is CollectiveKind.ALL_REDUCE and where.nodes == 2 else whole

    def _rate_of(self, ranks: int) -> float:
        """What `ranks` of a node send together, while the node's other ranks do the same in groups of their own.

        A rank uses the NICs nearest to its device, and at least one.
        """
        groups = max(1.0, self.ranks_on_node / ranks)
        nearest = max(1.0, ranks * self.nics / self.devices_on_node)
        return NIC_SHARE * self.nic_bytes_per_s * min(nearest, self.nics / groups)

    def _latency(self, kind: CollectiveKind, where: Placement) -> float:
        return self.latency_s * (2 if kind is CollectiveKind.ALL_REDUCE else 1) * (1 + log2(where.nodes))


def across_nodes(interconnect: Interconnect, node: InNode, ranks_on_node: int) -> AcrossNodes | None:
    """The fabric between nodes of so many ranks, which NVLink joins; None if the NICs' number or rate is not known."""
    if interconnect.nics_per_node is None or interconnect.nic_bytes_per_s is None:
        return None
    devices = interconnect.devices_per_node or ranks_on_node
    nodes_in_domain = max(1, ranks_on_node // devices)
    return AcrossNodes(
        node=node,
        ranks_on_node=ranks_on_node,
        devices_on_node=devices * nodes_in_domain,
        nics=interconnect.nics_per_node * nodes_in_domain,
        nic_bytes_per_s=interconnect.nic_bytes_per_s,
        latency_s=interconnect.nic_latency_s or USUAL_NIC_LATENCY_S,
    )
