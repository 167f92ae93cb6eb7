"""Calls between nodes: as a ring or a tree, whichever is faster, over the links inside the nodes and the NICs between them.

A ring of n ranks makes n - 1 steps (an all-reduce twice as many), passes each node once, and is filled by one chunk for each step. A tree
takes as many hops as the number of nodes has binary digits. It sends the message of an all-reduce over two nodes there once, reduced, and
back once, which is about half of what a ring of many ranks sends: bus rates above the NICs' are real. Only an all-reduce has trees (NCCL
up to 2.30).

The constants are fitted to published runs of nccl-tests by `scripts/dev/fit_collectives.py`, which also says how far off they are on runs
that they were not fitted to.
"""

from dataclasses import dataclass
from math import log2, sqrt

from fakerun.analysis.time.communication.curves import Estimate
from fakerun.analysis.time.communication.in_node import InNode
from fakerun.analysis.time.communication.placement import Domain, Placement
from fakerun.analysis.time.costs import Basis
from fakerun.hardware.accelerator import Interconnect
from fakerun.hardware.collective_times import CollectiveKind, bus_share


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricRule:
    """The constants of rings and trees between nodes, which are the same for every fabric.

    `nic_share` is what large messages reach of a NIC's rate. `hindrance` is the part of the faster of the two parts, inside and between
    nodes, that does not pass while the slower one does. A step of a ring takes `step_s` beside moving a chunk, of which the largest is
    `chunk_bytes`, of all channels together. A pipelined tree takes its latency, the time of its bytes, and `pipeline` times their
    geometric mean for its chunks, which grow with messages up to `pipeline_bytes`.
    """

    nic_share: float = 0.938
    hindrance: float = 0.075
    step_s: float = 1.3e-6
    chunk_bytes: float = 1.1e6
    pipeline: float = 1.9
    pipeline_bytes: float = 57e6


_MOST_RANKS_OF_TREES = 8
"""Ranks on a node: a rack of 72 all-reduces over a tree with one other rack, and along a ring with 19 (github.com/coreweave/nccl-tests)."""

_SMALL_BYTES = 1024

USUAL_NIC_LATENCY_S = 20e-6
"""Taken where a fabric's latency is not known: that of InfiniBand and RoCE."""

_PAIRS = frozenset({CollectiveKind.ALL_TO_ALL, CollectiveKind.GATHER, CollectiveKind.SCATTER})


@dataclass(frozen=True, slots=True, kw_only=True)
class AcrossNodes:
    """Nodes of `devices_on_node` devices, `ranks_on_node` of them with a rank, and the fabric between them.

    A node is what NVLink joins, and has `nics`, of each of which the rate in one direction is given.
    """

    node: InNode
    ranks_on_node: int
    devices_on_node: int
    nics: float
    nic_bytes_per_s: float
    latency_s: float
    rule: FabricRule = FabricRule()

    def estimate(self, kind: CollectiveKind, nbytes: float, where: Placement, *, may_multicast: bool) -> Estimate | None:
        """The time of a call of ranks of several nodes; None if nothing is known of the links inside them."""
        if kind is CollectiveKind.SEND_RECV:
            return Estimate(seconds=nbytes / self._rate_of(1) + self.latency_s, basis=Basis.ROOFLINE)
        if where.ranks_on_node > 1 and self.node.ring_bytes_per_s is None:
            return None
        if kind in _PAIRS:
            return Estimate(seconds=self._pairs(kind, nbytes, where), basis=Basis.ROOFLINE)
        ring = self._ring(kind, nbytes, where)
        if kind is CollectiveKind.ALL_REDUCE and (where.nodes == 2 or where.ranks_on_node <= _MOST_RANKS_OF_TREES):
            return Estimate(seconds=min(ring, self._tree(nbytes, where, may_multicast)), basis=Basis.ROOFLINE)
        return Estimate(seconds=ring, basis=Basis.ROOFLINE)

    def _ring(self, kind: CollectiveKind, nbytes: float, where: Placement) -> float:
        bus_bytes = nbytes * bus_share(kind, where.ranks)
        moving = self._together(self._inside(bus_bytes, where, self.node.ring_bytes_per_s), bus_bytes / self._rate_of(where.ranks_on_node))
        rounds = 2 if kind is CollectiveKind.ALL_REDUCE else 1
        whole = kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE)
        chunk = min(nbytes if whole else nbytes / where.ranks, self.rule.chunk_bytes)
        step = self.rule.step_s + chunk * moving / bus_bytes if bus_bytes else self.rule.step_s
        return rounds * (self._hops_s(where) + (where.ranks - 1) * step) + moving

    def _tree(self, nbytes: float, where: Placement, may_multicast: bool) -> float:
        """The all-reduce's tree: the switch reduces inside a node where it can, and passes on no more than a ring does."""
        bus_bytes = nbytes * bus_share(CollectiveKind.ALL_REDUCE, where.ranks)
        rate = self.node.all_reduce_bytes_per_s(where.ranks_on_node, may_multicast=may_multicast) if where.nodes == 2 else None
        inside = self._inside(bus_bytes, where, rate or self.node.ring_bytes_per_s)
        passing = (nbytes if where.nodes == 2 else bus_bytes) / self._rate_of(where.ranks_on_node)
        moving = self._together(inside, passing)
        latency = self._hops_s(where) + self._small_s(where.ranks_on_node, may_multicast)
        return latency + moving + self.rule.pipeline * sqrt(latency * moving * min(1.0, self.rule.pipeline_bytes / max(nbytes, 1)))

    def _pairs(self, kind: CollectiveKind, nbytes: float, where: Placement) -> float:
        """Messages between every two ranks, or between a root and every rank. A root has the NICs of one rank.

        Of an all-to-all each rank of a node sends its part to every rank of the other nodes.
        """
        remote = nbytes * (where.ranks - where.ranks_on_node) / where.ranks
        local = nbytes * (where.ranks_on_node - 1) / where.ranks
        moving = self._together(self._inside(local, where, self.node.ring_bytes_per_s), remote / self._rate_of(1))
        return self._hops_s(where) + (where.ranks - 1) * self.rule.step_s + moving

    def _inside(self, bus_bytes: float, where: Placement, bytes_per_s: float | None) -> float:
        return bus_bytes / bytes_per_s if bytes_per_s and where.ranks_on_node > 1 else 0.0

    def _together(self, inside: float, passing: float) -> float:
        return max(inside, passing) + self.rule.hindrance * min(inside, passing)

    def _hops_s(self, where: Placement) -> float:
        """Half of it for two nodes, and half more for each doubling: what messages of a few bytes take beyond one node."""
        return self.latency_s * (1 + log2(where.nodes)) / 2

    def _small_s(self, ranks: int, may_multicast: bool) -> float:
        small = self.node.estimate(CollectiveKind.ALL_REDUCE, _SMALL_BYTES, ranks, may_multicast=may_multicast) if ranks > 1 else None
        return 0.0 if small is None else small.seconds

    def _rate_of(self, ranks: int) -> float:
        """What `ranks` of a node send together, while the node's other ranks do the same in groups of their own.

        A rank uses the NICs nearest to its device, and at least one.
        """
        groups = max(1.0, self.ranks_on_node / ranks)
        nearest = max(1.0, ranks * self.nics / self.devices_on_node)
        return self.rule.nic_share * self.nic_bytes_per_s * min(nearest, self.nics / groups)


def across_nodes(interconnect: Interconnect, node: InNode, domain: Domain, rule: FabricRule) -> AcrossNodes | None:
    """The fabric between nodes; None if the NICs' number or rate is not known."""
    if interconnect.nics_per_node is None or interconnect.nic_bytes_per_s is None:
        return None
    return AcrossNodes(
        node=node,
        ranks_on_node=domain.ranks,
        devices_on_node=domain.devices,
        nics=interconnect.nics_per_node * domain.devices / (interconnect.devices_per_node or domain.devices // domain.hosts),
        nic_bytes_per_s=interconnect.nic_bytes_per_s,
        latency_s=interconnect.nic_latency_s or USUAL_NIC_LATENCY_S,
        rule=rule,
    )
