"""Which device of a node each simulated or assumed rank uses, and what all of them allocate there."""

import pytest

from fakerun.analysis.classes import RankClass
from fakerun.analysis.memory.devices import Devices, devices_of_ranks, name_devices, physical_devices
from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import need

GIB = 2**30


def placed(simulated: dict[int, tuple[int, ...]], *classes: RankClass, ranks_per_node: int = 4) -> dict[int, Devices]:
    records = [RankRecord(rank=rank, devices=devices) for rank, devices in simulated.items()]
    return devices_of_ranks(records, classes, ranks_per_node=ranks_per_node)


def test_simulated_ranks_keep_their_recorded_devices() -> None:
    assert placed({0: (0,), 1: (0, 3)}, RankClass(simulated=(0,)), RankClass(simulated=(1,))) == {0: (0,), 1: (0, 3)}


@pytest.mark.parametrize(
    ("simulated", "expected"),
    [
        pytest.param({1: (1,)}, (6, (2,)), id="its own, as the only one known"),
        pytest.param({1: (0,)}, (6, (0,)), id="another, as the only one known"),
        pytest.param({0: (0,), 5: (1,)}, (6, (2,)), id="its own"),
        pytest.param({0: (0,), 5: (0,)}, (6, (0,)), id="the same for all"),
        pytest.param({0: (0, 1), 5: (2, 3)}, (6, (4, 5)), id="two for each"),
        pytest.param({0: (3,), 5: (2,)}, (6, (1,)), id="counted backwards"),
        pytest.param({1: (0, 1), 7: (0, 3)}, (6, (0, 2)), id="one of all, one of its own"),
        pytest.param({0: (0,), 1: (2,), 3: (1,)}, (6, (None,)), id="on no line"),
        pytest.param({1: (1,), 5: (2,)}, (6, (None,)), id="contradictions"),
        pytest.param({0: (0,), 2: (1,)}, (5, (None,)), id="between devices"),
        pytest.param({0: (1,), 1: (0,)}, (6, (None,)), id="below the first device"),
    ],
)
def test_the_devices_of_a_rank_that_was_assumed(simulated: dict[int, tuple[int, ...]], expected: tuple[int, Devices]) -> None:
    rank, devices = expected
    found = placed(simulated, RankClass(simulated=tuple(simulated), assumed=(rank,)))
    assert found[rank] == devices


def test_other_classes_decide_where_a_class_has_one_local_rank() -> None:
    """The second stage was simulated on local rank 0 alone: that it is on cuda:0 says nothing; others are on cuda:0 wherever they are."""
    classes = RankClass(simulated=(0, 1)), RankClass(simulated=(4,), assumed=(5, 6))
    assert placed({0: (0,), 1: (0,), 4: (0,)}, *classes)[6] == (0,)
    assert placed({0: (0,), 1: (1,), 4: (0,)}, *classes)[6] == (2,)


def test_other_classes_that_contradict_each_other_do_not_decide() -> None:
    classes = RankClass(simulated=(0, 1, 2)), RankClass(simulated=(4,), assumed=(5,))
    assert placed({0: (1,), 1: (1,), 2: (0,), 4: (0,)}, *classes)[5] == (1,)


def test_memory_of_ranks_adds_up_on_a_device() -> None:
    own, left = need(MemoryFootprint(peak_bytes=5 * GIB)), need(MemoryFootprint(peak_bytes=GIB))
    first, second = physical_devices({0: {0: own}, 1: {0: left, 1: own}}, {0: (0,), 1: (0, 1)}, ranks_per_node=2)
    assert (first.node, first.cuda_index, first.peak_bytes, first.is_shared) == (0, 0, 6 * GIB, True)
    assert [share.rank for share in first.foreign_shares] == [1]
    assert [(each.reserved_bytes, each.allocated_bytes, each.ranks) for each in first.ranks_by_peak] == [
        (5 * GIB, 5 * GIB, (0,)),
        (GIB, GIB, (1,)),
    ]
    assert (second.peak_bytes, second.is_shared, second.foreign_shares) == (5 * GIB, False, ())


def test_nodes_have_devices_of_their_own() -> None:
    own = need(MemoryFootprint(peak_bytes=GIB))
    found = physical_devices({rank: {0: own} for rank in range(4)}, dict.fromkeys(range(4), (0,)), ranks_per_node=2)
    assert [(each.node, each.cuda_index, each.peak_bytes // GIB) for each in found] == [(0, 0, 2), (1, 0, 2)]


def test_devices_in_words() -> None:
    assert name_devices([(3, 0)]) == "cuda:0 of node 3"
    assert name_devices([(2, 1), (1, 0), (2, 0), (3, 0)]) == "cuda:0 of nodes 1-3, cuda:1 of node 2"


def test_unknown_ranks_are_named() -> None:
    own = need(MemoryFootprint(peak_bytes=GIB))
    (device,) = physical_devices({5: {0: own}}, {5: (0,), 6: ()}, ranks_per_node=4)
    assert device.own_rank == 4
    assert device.uncounted == (4, 7)


def test_an_unknown_device_or_no_memory_gives_no_physical_device() -> None:
    own = need(MemoryFootprint(peak_bytes=GIB))
    assert physical_devices({0: {0: own}, 1: {0: need(MemoryFootprint())}}, {0: (None,), 1: (1,)}, ranks_per_node=2) == ()


def test_a_device_beyond_the_local_ranks_is_no_ranks_own() -> None:
    (device,) = physical_devices({0: {0: need(MemoryFootprint(peak_bytes=1))}}, {0: (4,)}, ranks_per_node=2)
    assert device.own_rank is None
    assert len(device.foreign_shares) == 1
