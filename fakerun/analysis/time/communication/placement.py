"""Placement: on how many nodes the ranks of a group are, and how many of them on each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fakerun.hardware.accelerator import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`ranks` on `nodes`; a node has at most `ranks_on_node` of them."""

    ranks: int
    nodes: int
    ranks_on_node: int


def placement_of(group_ranks: Sequence[int], ranks_per_node: int) -> Placement:
    """Where the group's global ranks are, if ranks fill one node after the other as torchrun numbers them."""
    counts = Counter(rank // ranks_per_node for rank in group_ranks)
    return Placement(ranks=len(group_ranks), nodes=len(counts), ranks_on_node=max(counts.values()))


def ranks_per_domain(accelerator: Accelerator, ranks_per_node: int) -> int:
    """How many ranks NVLink joins: those of a node, or those of several nodes where its domain is larger than the usual node.

    A rack of 72 GB200 is one domain of 18 nodes with four each.
    """
    node = accelerator.interconnect
    if not node.domain_size or not node.devices_per_node:
        return ranks_per_node
    return ranks_per_node * max(1, node.domain_size // node.devices_per_node)
