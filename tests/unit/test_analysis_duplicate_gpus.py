"""Ranks of one NCCL communicator on one device of a node."""

from collections.abc import Mapping
from typing import Any

import pytest

from fakerun.analysis.duplicate_gpus import duplicate_gpu_findings
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import collective, in_order

Ranks = Mapping[int, tuple[tuple[int, ...], list[CollectiveRecord]]]
"""By rank, its devices and its calls."""

WORLD = (0, 1, 2, 3)


def on(device: int | None, group: str = "world", ranks: tuple[int, ...] = WORLD, **fields: Any) -> CollectiveRecord:
    return collective(device=device, group=group, group_ranks=ranks, process_group=group, **fields)


def found(ranks: Ranks, *, ranks_per_node: int = 4) -> tuple[Finding, ...]:
    records = [RankRecord(rank=rank, devices=devices, collectives=in_order(calls)) for rank, (devices, calls) in ranks.items()]
    return duplicate_gpu_findings(records, {rank: devices for rank, (devices, _) in ranks.items()}, ranks_per_node=ranks_per_node)


def test_all_ranks_of_a_node_on_one_device() -> None:
    (finding,) = found({rank: ((0,), [on(0, op=CollectiveOp.BROADCAST), on(0)]) for rank in WORLD})
    assert finding.ranks == WORLD
    assert str(finding.call_site) == "train.py:20"
    assert finding.message == (
        "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 0. NCCL makes no communicator for broadcast on group world: "
        "ranks 0-3 all use cuda:0 of node 0"
    )


def test_one_finding_names_all_devices_and_groups() -> None:
    def calls(rank: int) -> list[CollectiveRecord]:
        return [on(0), on(0, "dp", (0, 1) if rank < 2 else (2, 3))]

    (finding,) = found({rank: ((0,), calls(rank)) for rank in WORLD}, ranks_per_node=2)
    assert finding.ranks == WORLD
    assert finding.message.endswith(": ranks 0-1 all use cuda:0 of node 0; the same on cuda:0 of node 1 and in group dp")


def test_two_ranks_of_four_on_one_device() -> None:
    (finding,) = found({rank: ((max(rank - 1, 0),), [on(0)]) for rank in WORLD})
    assert finding.ranks == (0, 1)


def test_a_rank_with_an_unknown_device_is_no_duplicate() -> None:
    records = [RankRecord(rank=rank, devices=(0,), collectives=in_order([on(0)])) for rank in (0, 1)]
    assert duplicate_gpu_findings(records, {0: (0,), 1: (None,)}, ranks_per_node=2) == ()


def message(op: CollectiveOp, peer: int, **fields: Any) -> CollectiveRecord:
    return on(0, op=op, peer=peer, **fields)


def relayed(**fields: Any) -> Ranks:
    """Ranks 0 and 2 are on one device, and exchange messages with rank 1 alone."""
    return {
        0: ((0,), [message(CollectiveOp.SEND, 1, **fields)]),
        1: ((1,), [message(CollectiveOp.RECV, 0, **fields), message(CollectiveOp.SEND, 2, **fields)]),
        2: ((0,), [message(CollectiveOp.RECV, 1, **fields)]),
    }


FINE: dict[str, Ranks] = {
    "each on its own": {rank: ((rank,), [on(0)]) for rank in WORLD},
    "gloo": {rank: ((0,), [on(None)]) for rank in WORLD},
    "the same index on other nodes": {rank: ((0,), [on(0)]) for rank in (0, 4, 8)},
    "groups of one rank": {rank: ((0,), [on(0, f"of {rank}", (rank,))]) for rank in WORLD},
    "memory alone": {rank: ((0, rank + 4), [on(1)]) for rank in WORLD},
    "messages with a third": relayed(),
    "devices in turn": {0: ((0, 1), [on(0), on(1)]), 1: ((1, 0), [on(0), on(1)])},
}


@pytest.mark.parametrize("ranks", FINE.values(), ids=FINE)
def test_what_nccl_accepts(ranks: Ranks) -> None:
    assert found(ranks) == ()


DUPLICATES: dict[str, tuple[Ranks, tuple[int, ...]]] = {
    "messages to each other": (
        {0: ((0,), [message(CollectiveOp.SEND, 1)]), 1: ((0,), [message(CollectiveOp.RECV, 0)]), 2: ((0,), [])},
        (0, 1),
    ),
    "coalesced messages, which go through the group's communicator": (relayed(coalesced=0), (0, 2)),
    "a second communicator, on a device that all use after their own": ({rank: ((rank, 4), [on(0), on(1)]) for rank in WORLD}, WORLD),
    "a barrier before the devices are chosen": ({rank: ((4, rank), [on(0), on(1)]) for rank in WORLD}, WORLD),
}


@pytest.mark.parametrize(("ranks", "expected"), DUPLICATES.values(), ids=DUPLICATES)
def test_what_nccl_refuses(ranks: Ranks, expected: tuple[int, ...]) -> None:
    (finding,) = found(ranks)
    assert finding.ranks == expected
