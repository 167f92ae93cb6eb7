"""Grouping of collective calls, and their bytes and bus bytes."""

import pytest

from fakerun.analysis.links import NodeOfRank
from fakerun.analysis.traffic import StepVolumes, Volume, traffic_of
from fakerun.records.collective import CollectiveOp
from tests.unit.records_by_hand import collective

NODE = NodeOfRank(rank=0, ranks_per_node=8)

WIRE_BYTES_OF_1000_ON_4_RANKS = {
    CollectiveOp.ALL_REDUCE: 1500,
    CollectiveOp.ALL_GATHER: 750,
    CollectiveOp.ALL_GATHER_INTO_TENSOR: 750,
    CollectiveOp.REDUCE_SCATTER: 750,
    CollectiveOp.REDUCE_SCATTER_TENSOR: 750,
    CollectiveOp.ALL_TO_ALL: 750,
    CollectiveOp.ALL_TO_ALL_SINGLE: 750,
    CollectiveOp.REDUCE: 1000,
    CollectiveOp.BROADCAST: 1000,
    CollectiveOp.SCATTER: 1000,
    CollectiveOp.GATHER: 1000,
    CollectiveOp.SEND: 1000,
    CollectiveOp.RECV: 1000,
    CollectiveOp.BARRIER: 1000,
}


@pytest.mark.parametrize("op", CollectiveOp)
def test_bus_bytes(op: CollectiveOp) -> None:
    (row,) = traffic_of([collective(op)], NODE, steps=1).rows
    assert row.volumes.per_step == (Volume(calls=1, nbytes=1000, bus_bytes=WIRE_BYTES_OF_1000_ON_4_RANKS[op]),)


def test_a_group_of_one_sends_nothing_in_a_ring() -> None:
    assert collective(group_ranks=(5,)).bus_bytes == 0


def test_bus_bytes_are_rounded_down() -> None:
    assert collective(CollectiveOp.ALL_GATHER, group_ranks=(0, 1, 2), nbytes=100).bus_bytes == 66


def test_no_calls() -> None:
    traffic = traffic_of([], NODE, steps=2)
    assert traffic.rows == ()
    assert traffic.groups == ()
    assert traffic.total == StepVolumes(per_step=(Volume(), Volume()))
    assert traffic.steps_are_equal


def test_rows_are_by_operation_group_and_dtype_largest_first() -> None:
    traffic = traffic_of(
        [
            collective(nbytes=100),
            collective(dtype="bfloat16", nbytes=300),
            collective(group="tp", group_ranks=(0, 1), nbytes=200),
            collective(CollectiveOp.BROADCAST, nbytes=50),
            collective(nbytes=100),
        ],
        NODE,
        steps=1,
    )
    assert [(row.op, row.group, row.group_size, row.dtype, row.volumes.per_step[0].calls) for row in traffic.rows] == [
        (CollectiveOp.ALL_REDUCE, "dp", 4, "bfloat16", 1),
        (CollectiveOp.ALL_REDUCE, "dp", 4, "float32", 2),
        (CollectiveOp.ALL_REDUCE, "tp", 2, "float32", 1),
        (CollectiveOp.BROADCAST, "dp", 4, "float32", 1),
    ]
    assert [(group.group, group.volumes.per_step[0].nbytes) for group in traffic.groups] == [("dp", 550), ("tp", 200)]
    assert traffic.total.per_step[0] == Volume(calls=5, nbytes=750, bus_bytes=150 + 450 + 200 + 50 + 150)


def test_groups_of_one_name_and_different_sizes_stay_apart() -> None:
    traffic = traffic_of([collective(), collective(group_ranks=(0, 1))], NODE, steps=1)
    assert [row.group_size for row in traffic.rows] == [2, 4]


def test_steps_and_what_comes_after_them() -> None:
    records = [collective(step=0), collective(step=0), collective(step=1), collective(step=2), collective(step=3)]
    traffic = traffic_of(records, NODE, steps=2)
    (row,) = traffic.rows
    assert [volume.calls for volume in row.volumes.per_step] == [2, 1]
    assert row.volumes.after == Volume(calls=2, nbytes=2000, bus_bytes=3000)
    assert not traffic.steps_are_equal


def test_no_completed_step() -> None:
    (row,) = traffic_of([collective(step=0)], NODE, steps=0).rows
    assert row.volumes.per_step == ()
    assert row.volumes.after.calls == 1


def test_steps_are_compared_row_by_row_not_by_their_sum() -> None:
    swapped = [collective(step=0, dtype="int32"), collective(step=1, dtype="int64")]
    assert not traffic_of(swapped, NODE, steps=2).steps_are_equal
    assert traffic_of([collective(step=0), collective(step=1)], NODE, steps=2).steps_are_equal


def test_order_is_by_the_last_step() -> None:
    setup = collective(CollectiveOp.BROADCAST, nbytes=10**9)
    steady = [collective(step=step) for step in range(2)]
    assert [row.op for row in traffic_of([setup, *steady], NODE, steps=2).rows] == [CollectiveOp.ALL_REDUCE, CollectiveOp.BROADCAST]
