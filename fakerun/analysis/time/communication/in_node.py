"""Calls among devices that one link joins: by the measured curves of that link, else by the rates of the card."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from fakerun.analysis.time.communication.curves import FEWEST_POINTS, Estimate, NodeCurves, best_bus_rate
from fakerun.analysis.time.costs import Basis
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.catalogue import known_hardware
from fakerun.hardware.collective_times import CollectiveKind, TimeCurve, bus_share

_LINK_SHARE = 0.78
"""Of a link's rate, what rings reach: 0.78 on A100, 0.81 on H100 and H200, 0.76 on B200 (the curves' large messages)."""

_SHARE_OF_FEW = {2: 0.75, 3: 0.83, 4: 0.92}
"""Of that, what two to four devices reach: the median over links and operations at 512 MiB; three is between two and four."""

_PCIE_SHARE = 0.6
"""The same where devices reach each other through the host's PCIe bridges: an assumption, between the two halves of such a link."""

_PCIE_BYTES_PER_S_A_LANE = {3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
"""One direction of one lane, by generation (PCI-SIG)."""

_CALL_S = 10e-6
_STEP_S = 1e-6
"""What a call and each of its ring's steps take beside moving bytes, as the curves of small messages have it."""

_FEWEST_RANKS_OF_MULTICAST = {"NVLink 4": 5, "NVLink 5": 6}
"""From how many ranks on NCCL lets the switch reduce, by link; by other links it never does. Source: sweeps over the number of GPUs of H200
and B200 in github.com/stas00/ml-engineering@744d01e1, network/README.md."""

_MULTICAST_RANKS = 8
"""How many ranks there are curves of, for the operation that the switch makes nearly independent of their number."""

_ONE_WAY = {
    CollectiveKind.BROADCAST: CollectiveKind.ALL_GATHER,
    CollectiveKind.REDUCE: CollectiveKind.REDUCE_SCATTER,
    CollectiveKind.GATHER: CollectiveKind.ALL_TO_ALL,
    CollectiveKind.SCATTER: CollectiveKind.ALL_TO_ALL,
}
"""Operations that were not measured and one that passes the same bytes through the busiest link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InNode:
    """The devices of one node and what was measured between such devices.

    `is_linked`: the card's link joins them, not PCIe. `curves` are, by operation, of the same link on any card. `bytes_per_s` is what its
    link reaches by its published rate, `ring_bytes_per_s` what large messages of rings showed, else the same, both in one direction, None
    if not known.
    `multicast_bytes_per_s` is what an all-reduce by the switch shows, by the bus factor, from `fewest_multicast_ranks` on; None if the
    switch cannot.
    """

    is_linked: bool
    curves: Mapping[CollectiveKind, NodeCurves]
    bytes_per_s: float | None
    ring_bytes_per_s: float | None
    fewest_multicast_ranks: int | None = None
    multicast_bytes_per_s: float | None = None

    def estimate(self, kind: CollectiveKind, nbytes: float, ranks: int, *, may_multicast: bool) -> Estimate | None:
        """The time of a call among `ranks` of the node's devices; None if nothing is known of their links."""
        if kind is CollectiveKind.SEND_RECV:
            return self._one_message(nbytes)
        if kind is CollectiveKind.ALL_REDUCE and self.fewest_multicast_ranks and ranks > 4:
            return self._multicast(nbytes, ranks) if may_multicast and self.multicasts(ranks) else self._ring_all_reduce(nbytes, ranks)
        if kind in self.curves:
            return self.curves[kind].estimate(nbytes, ranks)
        if kind in _ONE_WAY:
            other = self.estimate(_ONE_WAY[kind], nbytes, ranks, may_multicast=False)
            return other and other.scaled(bus_share(kind, ranks) / bus_share(_ONE_WAY[kind], ranks), Basis.EXTRAPOLATED)
        return self._by_rate(kind, nbytes, ranks)

    def multicasts(self, ranks: int) -> bool:
        """Whether the switch reduces for so many ranks, if it can reduce what they have."""
        return self.fewest_multicast_ranks is not None and ranks >= self.fewest_multicast_ranks

    def all_reduce_bytes_per_s(self, ranks: int, *, may_multicast: bool) -> float | None:
        """What large messages of all-reduces move through a link, in bytes per second: more than a ring does, if the switch reduces."""
        return self.multicast_bytes_per_s or self.ring_bytes_per_s if may_multicast and self.multicasts(ranks) else self.ring_bytes_per_s

    def _multicast(self, nbytes: float, ranks: int) -> Estimate | None:
        """The switch's all-reduce: n + 1 parts of n pass a link, so that seven ranks take nearly as long as eight."""
        curves = self.curves.get(CollectiveKind.ALL_REDUCE)
        if curves is None:
            return self._by_rate(CollectiveKind.ALL_REDUCE, nbytes, ranks)
        if ranks >= _MULTICAST_RANKS or _MULTICAST_RANKS not in curves.measured_ranks:
            return curves.estimate(nbytes, ranks)
        full = curves.estimate(nbytes, _MULTICAST_RANKS)
        return full.scaled((1 + 1 / ranks) / (1 + 1 / _MULTICAST_RANKS), Basis.INTERPOLATED)

    def _ring_all_reduce(self, nbytes: float, ranks: int) -> Estimate | None:
        """A ring's all-reduce is a reduce-scatter and an all-gather, with one start, and not faster than the switch's."""
        scattered = self.estimate(CollectiveKind.REDUCE_SCATTER, nbytes, ranks, may_multicast=False)
        gathered = self.estimate(CollectiveKind.ALL_GATHER, nbytes, ranks, may_multicast=False)
        by_switch = self._multicast(nbytes, ranks)
        if scattered is None or gathered is None or by_switch is None:
            return by_switch
        ring = Estimate(seconds=scattered.seconds + gathered.seconds - _CALL_S, basis=Basis.EXTRAPOLATED)
        return max(ring, by_switch, key=lambda each: each.seconds)

    def _one_message(self, nbytes: float) -> Estimate | None:
        """From one device to another: what each of two sends in an all-to-all twice as large."""
        pairs = self.curves.get(CollectiveKind.ALL_TO_ALL)
        return self._by_rate(CollectiveKind.SEND_RECV, nbytes, 2) if pairs is None else pairs.estimate(2 * nbytes, 2)

    def _by_rate(self, kind: CollectiveKind, nbytes: float, ranks: int) -> Estimate | None:
        """A link that was not measured reaches its rate as those do that were: latency, bytes, and chunks that fill the ring."""
        if self.bytes_per_s is None:
            return None
        rounds = 2 if kind is CollectiveKind.ALL_REDUCE else 1
        latency = _CALL_S + rounds * (ranks - 1) * _STEP_S
        moving = nbytes * bus_share(kind, ranks) / (self.bytes_per_s * _SHARE_OF_FEW.get(ranks, 1.0))
        return Estimate(seconds=latency + moving + sqrt(latency * moving), basis=Basis.ROOFLINE)


def in_node(accelerator: Accelerator, ranks_in_domain: int, curves: Iterable[TimeCurve]) -> InNode:
    """What joins the ranks of a node: its link, or PCIe where that does not join all of them, or where there is none."""
    node = accelerator.interconnect
    if node.link_bytes_per_s is None or (node.domain_size or 0) < ranks_in_domain:
        pcie = _pcie_bytes_per_s(accelerator)
        return InNode(is_linked=False, curves={}, bytes_per_s=pcie, ring_bytes_per_s=pcie)
    cards, few = set(_cards_with_link_of(accelerator)), _FEWEST_RANKS_OF_MULTICAST.get(node.link or "")
    own = [curve for curve in curves if curve.nodes == 1 and curve.card in cards]
    rings = [curve for curve in own if curve.kind is not CollectiveKind.ALL_REDUCE or few is None or curve.ranks < few]
    by_switch = [curve for curve in own if curve.kind is CollectiveKind.ALL_REDUCE and curve.ranks == _MULTICAST_RANKS]
    ring_bytes_per_s = best_bus_rate(rings) if rings else node.link_bytes_per_s * _LINK_SHARE
    return InNode(
        is_linked=True,
        curves=_by_kind(own, ring_bytes_per_s),
        bytes_per_s=node.link_bytes_per_s * _LINK_SHARE,
        ring_bytes_per_s=ring_bytes_per_s,
        fewest_multicast_ranks=few,
        multicast_bytes_per_s=best_bus_rate(by_switch) if few is not None and by_switch else None,
    )


def _by_kind(curves: Sequence[TimeCurve], ring_bytes_per_s: float) -> Mapping[CollectiveKind, NodeCurves]:
    """The curves of each operation of which there is at least one that is a curve, and not a rate only."""
    kinds = {curve.kind for curve in curves if len(curve.points) >= FEWEST_POINTS}
    return {
        kind: NodeCurves(kind=kind, curves=tuple(curve for curve in curves if curve.kind is kind), ring_bytes_per_s=ring_bytes_per_s)
        for kind in kinds
    }


def _cards_with_link_of(accelerator: Accelerator) -> Iterator[str]:
    """The cards whose devices are joined by the same link at the same rate, and the card itself."""
    own = accelerator.interconnect
    for name, entry in known_hardware().items():
        other = entry.accelerator.interconnect
        if (other.link, other.link_bytes_per_s) == (own.link, own.link_bytes_per_s):
            yield name


def _pcie_bytes_per_s(accelerator: Accelerator) -> float | None:
    node = accelerator.interconnect
    if node.pcie_generation is None or node.pcie_lanes is None:
        return None
    lane = _PCIE_BYTES_PER_S_A_LANE.get(node.pcie_generation)
    return lane and lane * node.pcie_lanes * _PCIE_SHARE
