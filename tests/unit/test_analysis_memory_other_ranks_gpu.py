"""Memory that ranks allocate on the GPUs of other ranks."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fakerun.analysis.memory.devices import PhysicalDevice, physical_devices
from fakerun.analysis.memory.footprint import MemoryFootprint, footprint_of
from fakerun.analysis.memory.other_ranks_gpu import other_ranks_gpu_findings
from fakerun.records.finding_code import FindingCode
from fakerun.records.memory import Category
from tests.unit.records_by_hand import GIB, H100, block, need, site, timeline

HARDWARE = replace(H100, name="small", usable_bytes=8 * GIB)


def footprint(gib: float) -> MemoryFootprint:
    blocks = [
        block(round(gib * GIB) - 512, Category.PARAMETER, shape=(4, 8), dtype="float32", call_site=site("load.py:3")),
        block(512, Category.TEMPORARY, call_site=site("train.py:9")),
    ]
    return footprint_of(timeline(blocks, range(len(blocks))))


def on(devices: Mapping[int, Mapping[int, float]], ranks_per_node: int = 4) -> tuple[PhysicalDevice, ...]:
    """The devices of nodes whose ranks allocate so many GiB on each CUDA index."""
    return physical_devices(
        {
            rank: {ordinal: need(footprint(gib), HARDWARE.usable_bytes) for ordinal, gib in enumerate(each.values())}
            for rank, each in devices.items()
        },
        {rank: tuple(each) for rank, each in devices.items()},
        ranks_per_node=ranks_per_node,
    )


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param({}, id="nothing"),
        pytest.param({0: {0: 1}, 1: {1: 1}}, id="each its own"),
        pytest.param({0: {0: 1, 1: 1}, 1: {2: 1, 3: 1}}, id="two for each rank"),
        pytest.param({0: {0: 1, 5: 1}, 1: {1: 1}}, id="one that is nobody's"),
        pytest.param({0: {0: 1}, 1: {0: 1}}, id="no device of its own: duplicate-gpu"),
        pytest.param({0: {0: 6}, 1: {1: 1, 0: 3}}, id="does not fit"),
    ],
)
def test_nothing_to_tell(devices: dict[int, dict[int, float]]) -> None:
    assert list(other_ranks_gpu_findings(on(devices), HARDWARE)) == []


def test_one_rank_on_the_device_of_another() -> None:
    (finding,) = other_ranks_gpu_findings(on({0: {0: 1}, 1: {0: 2, 1: 1}}), HARDWARE)
    assert (finding.code, finding.ranks, str(finding.call_site)) == (FindingCode.OTHER_RANKS_GPU, (1,), "load.py:3")
    assert finding.message == "rank 1 allocates 2.00 GiB on cuda:0 of node 0, the device of rank 0"
    assert finding.hint == (
        "the largest tensors are 1 x float32[4,8] (parameter, 2.00 GiB) from load.py:3; load checkpoints with map_location, move tensors "
        'to the host before they are exchanged as objects, and call torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before anything '
        "is allocated"
    )


def test_the_device_with_most_is_described_and_the_others_are_named() -> None:
    everywhere = {rank: {rank: 1, **{index: 0.5 for index in range(4) if index != rank}} for rank in range(4)}
    everywhere[1][2] = 1.5
    (finding,) = other_ranks_gpu_findings(on(everywhere), HARDWARE)
    assert finding.ranks == (0, 1, 2, 3)
    assert finding.message == (
        "ranks 0-1,3 allocate up to 1.50 GiB each on cuda:2 of node 0, the device of rank 2; "
        "also: cuda:0 of node 0, cuda:1 of node 0, cuda:3 of node 0"
    )


def test_on_each_node() -> None:
    (finding,) = other_ranks_gpu_findings(on({0: {0: 1}, 1: {1: 1, 0: 1}, 2: {0: 1}, 3: {1: 1, 0: 1}}, ranks_per_node=2), HARDWARE)
    assert finding.ranks == (1, 3)
    assert finding.message == "rank 1 allocates 1.00 GiB on cuda:0 of node 0, the device of rank 0; also: cuda:0 of node 1"
