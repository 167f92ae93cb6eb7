"""Which part of a call's bus bytes leaves the node: rings, pairs, splits."""

from typing import Any

import pytest

from fakerun.analysis.links import NodeOfRank
from fakerun.analysis.traffic import traffic_of
from fakerun.records.collective import CollectiveOp
from tests.unit.records_by_hand import collective

TWO_NODES_OF_FOUR = tuple(range(8))
ONE_PER_NODE = (0, 4, 8, 12)
THREE_AND_ONE = (0, 1, 2, 4)

# Rank 0 on nodes of four ranks; every call has 1600 bytes.
CALLS: dict[str, tuple[CollectiveOp, dict[str, Any], int]] = {
    "a group on one node": (CollectiveOp.ALL_REDUCE, {"group_ranks": (0, 1, 2, 3)}, 0),
    "a ring through two nodes: each rank sends a quarter of the node's share": (
        CollectiveOp.ALL_REDUCE,
        {"group_ranks": TWO_NODES_OF_FOUR},
        1600 * 2 * 7 // 8 // 4,
    ),
    "a ring of one rank per node: all of it": (CollectiveOp.ALL_GATHER, {"group_ranks": ONE_PER_NODE}, 1200),
    "a ring that three ranks of the node are in": (CollectiveOp.REDUCE_SCATTER, {"group_ranks": THREE_AND_ONE}, 400),
    "a broadcast goes through each node once": (CollectiveOp.BROADCAST, {"group_ranks": TWO_NODES_OF_FOUR, "root": 0}, 400),
    "all_to_all: four of seven peers are remote": (CollectiveOp.ALL_TO_ALL_SINGLE, {"group_ranks": TWO_NODES_OF_FOUR}, 800),
    "all_to_all with splits: 30 of 40 elements that are sent go to the other node": (
        CollectiveOp.ALL_TO_ALL_SINGLE,
        {"group_ranks": (0, 1, 4, 5), "input_splits": (60, 10, 30, 0)},
        900,
    ),
    "all_to_all of which nothing is for others": (
        CollectiveOp.ALL_TO_ALL_SINGLE,
        {"group_ranks": (0, 4), "input_splits": (60, 0)},
        0,
    ),
    "send to a neighbour": (CollectiveOp.SEND, {"group_ranks": TWO_NODES_OF_FOUR, "peer": 1}, 0),
    "send to another node": (CollectiveOp.SEND, {"group_ranks": TWO_NODES_OF_FOUR, "peer": 4}, 1600),
    "gather to a root on the other node": (CollectiveOp.GATHER, {"group_ranks": TWO_NODES_OF_FOUR, "root": 4}, 1600),
    "gather to a root on the node": (CollectiveOp.GATHER, {"group_ranks": TWO_NODES_OF_FOUR, "root": 1}, 0),
    "scatter from this rank": (CollectiveOp.SCATTER, {"group_ranks": (0, 1, 4), "root": 0}, 800),
    "a group of one": (CollectiveOp.ALL_REDUCE, {"group_ranks": (0,)}, 0),
}


@pytest.mark.parametrize(("op", "fields", "expected"), CALLS.values(), ids=CALLS)
def test_what_leaves_the_node(op: CollectiveOp, fields: dict[str, Any], expected: int) -> None:
    node = NodeOfRank(rank=0, ranks_per_node=4)
    assert node.inter_node_bytes(collective(op, nbytes=1600, **fields)) == expected


def test_a_node_sends_to_the_next_what_one_rank_sends() -> None:
    call = collective(CollectiveOp.ALL_REDUCE, group_ranks=TWO_NODES_OF_FOUR, nbytes=1600)
    assert sum(NodeOfRank(rank=rank, ranks_per_node=4).inter_node_bytes(call) for rank in range(4)) == call.bus_bytes


def test_traffic_is_split_by_group() -> None:
    calls = [
        collective(group="tp", group_ranks=(0, 1, 2, 3), nbytes=1600),
        collective(group="dp", group_ranks=(0, 4), nbytes=1600),
        collective(group="dp", group_ranks=(0, 4), nbytes=1600),
    ]
    traffic = traffic_of(calls, NodeOfRank(rank=0, ranks_per_node=4), steps=1)
    volumes = {group.group: group.volumes.per_step[0] for group in traffic.groups}
    assert (volumes["tp"].intra_node_bytes, volumes["tp"].inter_node_bytes) == (2400, 0)
    assert (volumes["dp"].intra_node_bytes, volumes["dp"].inter_node_bytes) == (0, 3200)
    assert traffic.total.per_step[0].inter_node_bytes == 3200
