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


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What NVLink joins, called a node here: `devices`, of which `ranks` have a rank each, on `hosts` machines."""

    hosts: int
    ranks: int
    devices: int


def domain_of(accelerator: Accelerator, ranks_per_node: int) -> Domain:
    """The machine with so many ranks, or several where NVLink's domain is larger than the usual node.

    A rack of 72 GB200 is one domain of 18 machines with four each, or of nine if eight ranks are said to be on one.
    """
    node = accelerator.interconnect
    devices = max(node.devices_per_node or 1, ranks_per_node)
    hosts = max(1, (node.domain_size or 1) // devices)
    return Domain(hosts=hosts, ranks=hosts * ranks_per_node, devices=hosts * devices)
