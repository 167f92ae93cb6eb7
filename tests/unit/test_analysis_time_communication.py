"""What communication calls cost: where their ranks are, curves, rules between nodes; held against measurements that they did not see."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.analysis.time.communication.call_costs import UNKNOWN, CallCosts
from fakerun.analysis.time.communication.call_shape import CallShape, call_shape, shape_of
from fakerun.analysis.time.communication.curves import seconds_at
from fakerun.analysis.time.communication.placement import Placement, domain_of, placement_of
from fakerun.analysis.time.costs import Basis
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.collective_times import CollectiveKind, bus_share, collective_times
from fakerun.hardware.interconnects import with_interconnect
from fakerun.records.collective import CollectiveOp
from tests.unit.records_by_hand import MIB, collective

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from dev.compare_collective_times import ACROSS, IN_NODE, LARGE, agreement, judged_rows

H100 = CallCosts(hardware_named("h100-80gb"), 8)
NODE = tuple(range(8))
TWO_NODES = tuple(range(16))
STRIDED = tuple(range(0, 64, 8))


def seconds(costs: CallCosts, kind: CollectiveKind, nbytes: int, members: tuple[int, ...], *, may_multicast: bool = True) -> float:
    return costs.cost(CallShape(kind=kind, nbytes=nbytes, members=members, may_multicast=may_multicast)).seconds


# Where ranks are.


@pytest.mark.parametrize(
    ("ranks", "nodes", "on_node"),
    [(NODE, 1, 8), (TWO_NODES, 2, 8), (STRIDED, 8, 1), ((0, 1, 8), 2, 2), ((6, 7, 8, 9), 2, 2), ((3,), 1, 1)],
)
def test_placement(ranks: tuple[int, ...], nodes: int, on_node: int) -> None:
    assert placement_of(ranks, 8) == Placement(ranks=len(ranks), nodes=nodes, ranks_on_node=on_node)


@pytest.mark.parametrize(
    ("card", "ranks_per_node", "hosts", "ranks"),
    [("gb200", 4, 18, 72), ("gb200", 8, 9, 72), ("gb200", 2, 18, 36), ("h100-80gb", 8, 1, 8), ("h100-80gb", 4, 1, 4), ("t4", 4, 1, 4)],
)
def test_a_rack_of_gb200_is_one_domain(card: str, ranks_per_node: int, hosts: int, ranks: int) -> None:
    domain = domain_of(hardware_named(card), ranks_per_node)
    assert (domain.hosts, domain.ranks) == (hosts, ranks)


# Curves.

POINTS = ((1024, 10e-6), (4096, 20e-6), (16384, 18e-6))


@pytest.mark.parametrize(
    ("nbytes", "expected", "basis"),
    [
        (4, 10e-6, Basis.EXTRAPOLATED),
        (1024, 10e-6, Basis.MEASURED),
        (2048, 2**0.5 * 10e-6, Basis.INTERPOLATED),
        (8192, 20e-6, Basis.INTERPOLATED),
        (16384, 20e-6, Basis.MEASURED),
        (16384 + 1000, 21e-6, Basis.EXTRAPOLATED),
    ],
)
def test_a_curve(nbytes: int, expected: float, basis: Basis) -> None:
    said = seconds_at(POINTS, nbytes, limit_bytes_per_s=1e9)
    assert said.seconds == pytest.approx(expected)
    assert said.basis is basis


@pytest.mark.parametrize(
    ("card", "ranks", "faster"),
    [("h200", 4, 1.0), ("h200", 5, 1.14), ("h200", 8, 1.29), ("b200", 5, 1.0), ("b200", 6, 1.15), ("b200", 8, 1.23)],
)
def test_from_how_many_ranks_on_the_switch_reduces(card: str, ranks: int, faster: float) -> None:
    """The gains are those of github.com/stas00/ml-engineering@744d01e1, network/README.md, at 8 GiB."""
    costs, members = CallCosts(hardware_named(card), 8), tuple(range(ranks))
    by_switch, by_ring = (
        seconds(costs, CollectiveKind.ALL_REDUCE, 8192 * MIB, members, may_multicast=may_multicast) for may_multicast in (True, False)
    )
    assert by_ring / by_switch == pytest.approx(faster, rel=0.06)


@pytest.mark.parametrize("card", ["a100-80gb", "h100-80gb", "b200", "gb200", "h100-pcie"])
def test_more_bytes_take_no_less_time(card: str) -> None:
    costs = CallCosts(hardware_named(card), 8)
    for members in [(0, 1), (0, 1, 2), tuple(range(6)), NODE, TWO_NODES, STRIDED, (0, 8), (0, 1, 2, 8), tuple(range(160))]:
        for kind in CollectiveKind:
            ends = (members[0], members[-1]) if kind is CollectiveKind.SEND_RECV else members
            times = [seconds(costs, kind, 3 * 2**exponent // 2, ends) for exponent in range(2, 36, 3)]
            assert times == sorted(times), (kind, members)
            assert times[0] > 0


@pytest.mark.parametrize("kind", [CollectiveKind.ALL_GATHER, CollectiveKind.ALL_REDUCE, CollectiveKind.ALL_TO_ALL])
def test_a_strided_group_is_not_in_a_node(kind: CollectiveKind) -> None:
    assert seconds(H100, kind, 256 * MIB, STRIDED) > 3 * seconds(H100, kind, 256 * MIB, NODE)


# What a call is.


def test_only_the_switch_makes_all_reduce_faster_than_a_ring() -> None:
    by_switch, by_ring = (seconds(H100, CollectiveKind.ALL_REDUCE, 512 * MIB, NODE, may_multicast=switch) for switch in (True, False))
    assert 1.15 < by_ring / by_switch < 1.5
    a100 = CallCosts(hardware_named("a100-80gb"), 8)
    by_switch, by_ring = (seconds(a100, CollectiveKind.ALL_REDUCE, 512 * MIB, NODE, may_multicast=switch) for switch in (True, False))
    assert 0.95 < by_ring / by_switch < 1.1


@pytest.mark.parametrize(
    ("dtype", "reduce_op", "expected"),
    [
        ("bfloat16", "sum", True),
        ("bfloat16", "avg", False),
        ("float32", "sum", True),
        ("float32", "max", False),
        ("float8_e4m3fn", "sum", False),
    ],
)
def test_what_the_switch_can_reduce(dtype: str, reduce_op: str, expected: bool) -> None:
    shape = call_shape(CollectiveOp.ALL_REDUCE, 100, NODE, dtype=dtype, reduce_op=reduce_op)
    assert shape.may_multicast is expected


def test_a_part_of_a_gather_counts_as_the_whole() -> None:
    root = collective(CollectiveOp.GATHER, root=0, input_sizes=((10,),), output_sizes=((10,),) * 4, nbytes=160)
    other = replace(root, output_sizes=(), nbytes=40)
    assert shape_of(root) == shape_of(other)


def test_an_uneven_all_to_all_takes_as_long_as_its_largest_pair() -> None:
    def exchanged(*splits: int) -> CallShape:
        return shape_of(
            collective(
                CollectiveOp.ALL_TO_ALL_SINGLE,
                input_sizes=((sum(splits), 5),),
                output_sizes=((sum(splits), 5),),
                input_splits=splits,
                output_splits=splits,
                nbytes=sum(splits) * 5 * 4,
            )
        )

    assert exchanged(1, 1, 1, 5).nbytes == exchanged(5, 5, 5, 5).nbytes == 400
    assert exchanged(2, 2, 2, 2).nbytes == 160


def test_a_message_is_between_its_two_ends() -> None:
    send = collective(CollectiveOp.SEND, group_ranks=STRIDED, peer=24, nbytes=100)
    assert set(shape_of(send, rank=16).members) == {16, 24}
    assert set(shape_of(send).members) in ({16, 24}, {32, 24})


def test_a_barrier_is_a_small_all_reduce() -> None:
    barrier = H100.of(collective(CollectiveOp.BARRIER, group_ranks=NODE, dtype="", input_sizes=(), output_sizes=(), nbytes=0))
    assert 5e-6 < barrier.seconds < 60e-6


def test_a_group_of_one_copies_or_does_nothing() -> None:
    alone = collective(CollectiveOp.ALL_GATHER_INTO_TENSOR, group_ranks=(3,), nbytes=335_000_000)
    assert H100.of(alone).seconds == pytest.approx(200e-6)
    assert H100.of(replace(alone, op=CollectiveOp.ALL_REDUCE)).seconds == 0
    assert H100.of(alone).multiprocessors == 0


def test_what_runs_on_the_host_has_an_unknown_cost() -> None:
    assert H100.of(collective(device=None)) is UNKNOWN
    assert H100.of_coalesced([collective(device=None)]) is UNKNOWN


def test_a_node_of_unknown_nics_has_unknown_costs_between_nodes() -> None:
    mi325x = CallCosts(hardware_named("mi325x"), 8)
    assert mi325x.of(collective(group_ranks=TWO_NODES)).basis is Basis.UNKNOWN
    assert mi325x.of(collective(group_ranks=NODE)).basis is Basis.ROOFLINE


def test_coalesced_messages_of_two_directions_overlap() -> None:
    send = collective(CollectiveOp.SEND, group_ranks=(0, 8), peer=8, nbytes=64 * MIB, coalesced=0)
    receive = replace(send, op=CollectiveOp.RECV)
    one = H100.of(send, rank=0)
    assert H100.of_coalesced([send, receive], rank=0) == one
    assert H100.of_coalesced([send, send, receive], rank=0).seconds == pytest.approx(2 * one.seconds, rel=0.1)


def test_groups_of_a_node_share_its_nics() -> None:
    """A ring of 16 ranks passes 15/16 of its message through eight NICs, one of two ranks 1/2 through one."""
    each, all_ranks = (
        seconds(H100, CollectiveKind.ALL_GATHER, 240 * MIB, (0, 8)),
        seconds(H100, CollectiveKind.ALL_GATHER, 1024 * MIB, TWO_NODES),
    )
    assert each == pytest.approx(all_ranks, rel=0.2)
    two_nics = replace(hardware_named("h100-80gb").interconnect, nics_per_node=2)
    few = CallCosts(replace(hardware_named("h100-80gb"), interconnect=two_nics), 8)
    assert seconds(few, CollectiveKind.ALL_GATHER, 512 * MIB, (0, 8)) > 3.5 * seconds(H100, CollectiveKind.ALL_GATHER, 512 * MIB, (0, 8))


@pytest.mark.parametrize("members", [(0, 8), TWO_NODES])
def test_a_tree_sends_the_message_of_two_nodes_once(members: tuple[int, ...]) -> None:
    slow = replace(hardware_named("h100-80gb").interconnect, nic_bytes_per_s=1e9)
    costs = CallCosts(replace(hardware_named("h100-80gb"), interconnect=slow), 8)
    nics = len(members) / 2
    assert seconds(costs, CollectiveKind.ALL_REDUCE, 10**9, members) == pytest.approx(1 / 0.938 / nics, rel=0.03)


@pytest.mark.parametrize(
    ("card", "fabric", "nbytes", "microseconds"),
    [
        ("h100-80gb", "ib-ndr-8x", 2 * MIB, 113.2),
        ("h100-80gb", "ib-ndr-8x", 4 * MIB, 154.4),
        ("h100-80gb", "ib-ndr-8x", 8 * MIB, 231.4),
        ("h100-80gb", "ib-ndr-8x", 16 * MIB, 420.5),
        ("h100-80gb", "ib-ndr-8x", 32 * MIB, 812.3),
        ("a100-80gb", "ib-hdr-8x", 8, 19.90),
        ("a100-80gb", "ib-hdr-8x", 64, 19.36),
    ],
)
def test_a_rank_on_each_of_two_nodes(card: str, fabric: str, nbytes: int, microseconds: float) -> None:
    """All-reduces in github.com/NVIDIA/nccl-tests/issues/232 and /150; no constant is fitted to them."""
    costs = CallCosts(with_interconnect(hardware_named(card), fabric), 8)
    assert seconds(costs, CollectiveKind.ALL_REDUCE, nbytes, (0, 8)) == pytest.approx(microseconds * 1e-6, rel=0.18)


@pytest.mark.parametrize(("kind", "bus_bytes_per_s"), [(CollectiveKind.ALL_REDUCE, 444e9), (CollectiveKind.ALL_TO_ALL, 85e9)])
def test_two_nodes_of_p5en(kind: CollectiveKind, bus_bytes_per_s: float) -> None:
    """A public log of work on DeepEP over EFA has these rates of nccl-tests at 1 GiB, NCCL 2.30.4; no constant is fitted to them."""
    costs = CallCosts(with_interconnect(hardware_named("h200"), "aws-p5en"), 8)
    assert seconds(costs, kind, 1024 * MIB, TWO_NODES) == pytest.approx(1024 * MIB * bus_share(kind, 16) / bus_bytes_per_s, rel=0.08)


def test_nodes_with_a_nic_for_two_devices() -> None:
    """github.com/NVIDIA/nccl/issues/1368: an all-reduce of 40 H100 by rings, each node with four NICs of 400 Gb/s, moves 190 GB/s."""
    costs = CallCosts(with_interconnect(hardware_named("h100-80gb"), "ib-ndr-8x,nics_per_node=4"), 8)
    measured_s = 1024 * MIB * 2 * 39 / 40 / 190e9
    assert seconds(costs, CollectiveKind.ALL_REDUCE, 1024 * MIB, tuple(range(40))) == pytest.approx(measured_s, rel=0.1)


def test_one_group_alone_on_the_nodes_has_a_nic_of_its_own() -> None:
    one_a_node = CallCosts(hardware_named("h100-80gb"), 1)
    assert seconds(one_a_node, CollectiveKind.SEND_RECV, 470_000_000, (0, 1)) == pytest.approx(10e-3, rel=0.01)


def test_kernels_occupy_a_multiprocessor_for_each_channel() -> None:
    def occupied(kind: CollectiveKind, nbytes: int, members: tuple[int, ...], *, may_multicast: bool = True) -> int:
        return H100.cost(CallShape(kind=kind, nbytes=nbytes, members=members, may_multicast=may_multicast)).multiprocessors

    assert occupied(CollectiveKind.ALL_REDUCE, 256 * MIB, NODE) == 16
    assert occupied(CollectiveKind.ALL_REDUCE, 256 * MIB, NODE, may_multicast=False) == 24
    assert occupied(CollectiveKind.ALL_GATHER, 256 * MIB, TWO_NODES) == 16
    assert occupied(CollectiveKind.ALL_GATHER, 1000, NODE) == 1
    assert occupied(CollectiveKind.SEND_RECV, 256 * MIB, (0, 8)) == 2


# What was measured.


@pytest.mark.parametrize(("where", "rows", "median", "within_15"), [(IN_NODE, 60, 0.04, 0.95), (ACROSS, 150, 0.08, 0.75)])
def test_what_is_said_without_a_source_agrees_with_it(where: str, rows: int, median: float, within_15: float) -> None:
    said = agreement(row for row in judged_rows(collective_times()) if row.where == where and row.size == LARGE)
    assert said.rows >= rows
    assert said.median <= median
    assert said.within_15 >= within_15
