"""Ranks that issue the same calls have one schedule; with a rank's groups it gives that rank's records."""

from dataclasses import replace

import pytest

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.schedule import Slot, calls_of
from tests.unit.records_by_hand import collective, in_order, llama_8b_rank


def message(op: CollectiveOp, rank: int, distance: int, group: tuple[int, ...]) -> CollectiveRecord:
    peer = group[(group.index(rank) + distance) % len(group)]
    return collective(op, group="cp", group_ranks=group, process_group=f"cp of {group}", peer=peer, tag=0)


def ring(rank: int) -> tuple[CollectiveRecord, ...]:
    """Sends to the next of four, receives from the previous one."""
    group = tuple(range(rank // 4 * 4, rank // 4 * 4 + 4))
    return in_order([message(CollectiveOp.SEND, rank, 1, group), message(CollectiveOp.RECV, rank, -1, group)])


@pytest.mark.parametrize("rank", [0, 3, 7])
def test_records_come_back_as_they_were(rank: int) -> None:
    records = (*llama_8b_rank(rank).collectives, *ring(rank))
    calls = calls_of(rank, records)
    assert calls == records
    assert calls[-1] == records[-1]
    assert calls[2:5] == records[2:5]
    assert len(calls) == len(records)


def test_ranks_that_do_the_same_have_one_schedule() -> None:
    assert len({calls_of(rank, llama_8b_rank(rank).collectives).schedule for rank in range(8)}) == 1


def test_the_ranks_of_a_ring_have_one_schedule() -> None:
    assert len({calls_of(rank, ring(rank)).schedule for rank in range(8)}) == 1


def test_a_root_is_a_group_rank() -> None:
    to_own_root = [
        calls_of(rank, [collective(CollectiveOp.BROADCAST, group_ranks=ranks, root=ranks[0])]).schedule
        for rank, ranks in ((1, (0, 1)), (2, (2, 3)))
    ]
    to_itself = [calls_of(rank, [collective(CollectiveOp.BROADCAST, group_ranks=(0, 1), root=rank)]).schedule for rank in (0, 1)]
    assert len(set(to_own_root)) == 1
    assert len(set(to_itself)) == 2


def test_groups_without_a_name_are_interchangeable() -> None:
    pairs = [collective(group=None, group_ranks=(a, b)) for a, b in ((0, 1), (2, 3))]
    schedules = [calls_of(record.group_ranks[0], [record]).schedule for record in pairs]
    assert schedules[0] == schedules[1]
    assert schedules[0].slots == (Slot(None, 2),)


@pytest.mark.parametrize("change", [{"group": "tp"}, {"group_ranks": (0, 1)}, {"call_site": "train.py:21"}, {"dtype": "int64"}])
def test_another_axis_size_line_or_dtype_is_another_schedule(change: dict[str, object]) -> None:
    record = collective()
    assert calls_of(0, [record]).schedule != calls_of(0, [replace(record, **change)]).schedule  # type: ignore[arg-type]
