"""Which links a call's bytes cross: those between the accelerators of a node, or those between nodes.

The bus bytes of a call are what a rank sends by NCCL's algorithms. Collectives go along a ring that enters and leaves each node once, so
a node sends to the next node what one of its ranks sends; with as many rings as network interfaces, each leaving from another rank, every
rank of the node sends an equal share of it. all_to_all, gather and scatter are sends and receives between pairs. This is exact for pairs,
and for rings on which every rank has an equal share. A tree (NCCL's choice for small all_reduces over many nodes) distributes the same
bytes otherwise.
"""

from dataclasses import dataclass
from fractions import Fraction

from fakerun.records.collective import P2P_OPS, CollectiveOp, CollectiveRecord

_ALL_TO_ALL = frozenset({CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE})
_PAIRS_WITH_ROOT = frozenset({CollectiveOp.GATHER, CollectiveOp.SCATTER})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOfRank:
    """A rank on a node of `ranks_per_node` ranks: what of its calls leaves the node."""

    rank: int
    ranks_per_node: int

    def inter_node_bytes(self, record: CollectiveRecord) -> int:
        """The part of the call's `bus_bytes` that crosses between nodes, in bytes, rounded down."""
        return int(record.bus_bytes * self._share(record))

    def is_remote(self, other: int) -> bool:
        """Whether the rank is on another node."""
        return other // self.ranks_per_node != self.rank // self.ranks_per_node

    def _share(self, record: CollectiveRecord) -> Fraction:
        if record.op in P2P_OPS:
            return Fraction(record.peer is not None and self.is_remote(record.peer))
        remote = sum(map(self.is_remote, record.group_ranks))
        if not remote:
            return Fraction(0)
        if record.op in _PAIRS_WITH_ROOT and record.root is not None and record.root != self.rank:
            return Fraction(self.is_remote(record.root))
        if record.op in _ALL_TO_ALL and record.input_splits is not None:
            return self._share_of_splits(record.group_ranks, record.input_splits)
        if record.op in _ALL_TO_ALL | _PAIRS_WITH_ROOT:
            return Fraction(remote, record.group_size - 1)
        return Fraction(1, record.group_size - remote)

    def _share_of_splits(self, members: tuple[int, ...], splits: tuple[int, ...]) -> Fraction:
        """Of what goes to other ranks, the part that goes to other nodes."""
        sent = {member: split for member, split in zip(members, splits, strict=False) if member != self.rank}
        total = sum(sent.values())
        return Fraction(sum(split for member, split in sent.items() if self.is_remote(member)), total) if total else Fraction(0)
