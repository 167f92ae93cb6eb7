"""What a rank's process holds outside the allocator: its context on each device, and the buffers of the communicators that it used."""

from collections.abc import Sequence

import pytest

from fakerun.analysis.memory.outside import CONTEXT, OutsideMemory, outside_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.outside_memory import context_range, outside_figures
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import MIB, collective

H100 = hardware_named("h100-80gb")
A100 = hardware_named("a100-80gb")
L4 = hardware_named("l4")
MI300X = hardware_named("mi300x")


def call(ranks: Sequence[int], op: CollectiveOp = CollectiveOp.ALL_REDUCE, **fields: object) -> CollectiveRecord:
    default = {"device": 0, "group": "dp", "process_group": "0", "group_ranks": tuple(ranks)}
    return collective(op=op, **{**default, **fields})


def of(calls: Sequence[CollectiveRecord], hardware=H100, devices: tuple[int, ...] = (0,)) -> tuple[OutsideMemory, ...]:  # type: ignore[no-untyped-def]
    return outside_memory(RankRecord(rank=0, collectives=tuple(calls), devices=devices), hardware)


def buffers(calls: Sequence[CollectiveRecord], hardware=H100) -> list[tuple[float, float]]:  # type: ignore[no-untyped-def]
    """Low and high of each communicator, in MiB."""
    return [(each.low_bytes / MIB, each.high_bytes / MIB) for each in of(calls, hardware) if each.what != CONTEXT]


def test_a_device_that_was_not_used_has_nothing() -> None:
    assert of([], devices=()) == ()


def test_each_device_has_a_context() -> None:
    one, other = of([], devices=(0, 3))
    assert (one.device, other.device) == (0, 1)
    assert one.what == other.what == CONTEXT
    assert (one.low_bytes, one.high_bytes) == (context_range(H100).low_bytes, context_range(H100).high_bytes)


def test_a_ring_at_least_trees_and_multicast_at_most() -> None:
    """8 H100 in a node: 16 to 24 channels; NVLS has 256 MiB (nvlsTotalSize in NCCL's log)."""
    assert buffers([call(range(8))]) == [(16 * 12, 24 * 3 * 12 + 256)]
    assert buffers([call(range(8))], A100) == [(16 * 12, 24 * 3 * 12)]
    assert buffers([call(range(2))]) == [(16 * 12, 24 * 3 * 12)]


def test_groups_of_several_nodes_go_over_the_network() -> None:
    assert buffers([call(range(0, 64, 8))]) == [(2 * 20, 16 * 3 * 20)]
    assert buffers([call(range(64))]) == [(2 * 20, 16 * 3 * 20 + 256)]


def test_a_link_that_joins_racks_is_no_network() -> None:
    """GB200 NVL72: 72 devices on one link, four in a node."""
    assert buffers([call(range(8))], hardware_named("gb200"))[0][0] == 16 * 12


def test_without_a_link_buffers_are_in_host_memory() -> None:
    assert buffers([call(range(4))], L4) == [(0, 4 * 3 * 12)]


def test_each_group_is_counted_once_and_by_device() -> None:
    calls = [call(range(8)), call(range(8)), call((0, 1), process_group="1", group="tp"), call(range(8), device=1)]
    found = [each for each in of(calls, devices=(0, 1)) if each.what != CONTEXT]
    assert [(each.device, each.what) for each in found] == [
        (0, "NCCL buffers of group dp"),
        (0, "NCCL buffers of group tp"),
        (1, "NCCL buffers of group dp"),
    ]


def test_gloo_holds_nothing() -> None:
    assert buffers([call(range(8), device=None)]) == []


def test_a_communicator_of_one_rank_holds_memory() -> None:
    """388 to 390 MiB were measured on an H100 and an H200; of AMD's devices nothing is known."""
    assert buffers([call([0])]) == [(0, 390)]
    assert [(each.low_bytes, each.high_bytes) for each in of([call([0])], MI300X)[1:]] == [(0, 0)]


def test_a_process_that_communicates_loads_nccl_s_kernels() -> None:
    assert of([call(range(8))])[0].high_bytes == context_range(H100).high_bytes + 178 * MIB
    assert of([call(range(8))])[0].low_bytes == context_range(H100).low_bytes
    assert of([call(range(8))], MI300X)[0].high_bytes == context_range(MI300X).high_bytes
    first, other = [each for each in of([call(range(8))], devices=(0, 1)) if each.what == CONTEXT]
    assert first.high_bytes - other.high_bytes == 178 * MIB


def test_all_to_all_connects_every_peer() -> None:
    """32 channels to each of 7 peers, 12 MiB each: 2.6 GiB; 3.3 GB were measured with the first ring (NVIDIA/nccl issue 1685)."""
    (found,) = buffers([call(range(8), CollectiveOp.ALL_TO_ALL_SINGLE)])
    assert found == (7 * 12, 7 * 32 * 12)


def test_p2p_calls_that_are_not_coalesced_have_a_communicator_for_each_pair() -> None:
    sends = [call(range(8), CollectiveOp.SEND, peer=peer) for peer in (1, 2, 1)]
    assert buffers(sends) == [(12, 32 * 12)] * 2
    coalesced = [call(range(8), CollectiveOp.SEND, peer=peer, coalesced=0) for peer in (1, 2)]
    assert buffers(coalesced) == [(2 * 12, 2 * 32 * 12)]
    assert buffers([call(range(16), CollectiveOp.SEND, peer=8)]) == [(0, 64)]


@pytest.mark.parametrize("report", [each for each in outside_figures().communicators if not each.excluded], ids=lambda each: each.source)
def test_jobs_that_were_measured_lie_between_one_communicator_and_two(report) -> None:  # type: ignore[no-untyped-def]
    """How many communicators they had is not said; data-parallel training has one, and libraries add another."""
    hardware = {"A": A100, "H": H100, "M": MI300X}[report.card[0]]
    context, one, other = of([call(range(report.ranks)), call(range(report.ranks), process_group="1")], hardware)
    assert context.low_bytes + one.low_bytes <= report.outside_bytes <= context.high_bytes + one.high_bytes + other.high_bytes
