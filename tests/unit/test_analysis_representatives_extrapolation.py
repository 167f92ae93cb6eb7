"""Ranks that were not simulated get the calls of their representative, on the groups through their own coordinate."""

import pytest

from fakerun.analysis.representatives import assumed_records
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import AssumedRanks, RankRecord, RunRecord
from tests.unit.records_by_hand import collective, in_order

MESH = Mesh.of({"pp": 2, "dp": 2, "tp": 4})
"""Ranks 0-15; a tp group is four neighbours, a dp group two ranks four apart, a pp group two ranks eight apart."""


def calls(rank: int) -> tuple[CollectiveRecord, ...]:
    """What every rank does: on its tp, dp and pp groups, on those of its stage, and on the world."""
    tp = tuple(range(rank // 4 * 4, rank // 4 * 4 + 4))
    dp = tuple(rank // 8 * 8 + rank % 4 + 4 * i for i in range(2))
    pp = (rank % 8, rank % 8 + 8)
    stage = tuple(range(rank // 8 * 8, rank // 8 * 8 + 8))
    other = pp[1 - pp.index(rank)]
    return in_order(
        [
            collective(group="tp", group_ranks=tp, process_group=f"tp {tp[0]}"),
            collective(CollectiveOp.BROADCAST, group="dp", group_ranks=dp, process_group=f"dp {dp[0]}", root=dp[0]),
            collective(CollectiveOp.SEND, group="pp", group_ranks=pp, process_group=f"pp {pp[0]}", peer=other, tag=0),
            collective(group=None, group_ranks=stage, process_group=f"stage {stage[0]}"),
            collective(group="world", group_ranks=tuple(range(16)), process_group="0"),
        ]
    )


def run(*simulated: int, representative: int, ranks: tuple[int, ...]) -> RunRecord:
    records = tuple(RankRecord(rank=rank, collectives=calls(rank)) for rank in simulated)
    assumed = (AssumedRanks(ranks=ranks, representative=representative),)
    return RunRecord(fakerun_version="0.1.0", torch_version=None, ranks=records, assumed=assumed, mesh=MESH)


def test_groups_contain_the_rank() -> None:
    for record in assumed_records(run(0, representative=0, ranks=tuple(range(1, 16)))):
        found = [(call.op, call.group, call.group_ranks, call.root, call.peer) for call in record.collectives]
        assert found == [(call.op, call.group, call.group_ranks, call.root, call.peer) for call in calls(record.rank)]


def test_a_group_of_simulated_ranks_has_its_name() -> None:
    """Rank 1 is in the tp and pp groups of the simulated ranks 0 and 9, and in a dp group of its own."""
    (record,) = assumed_records(run(0, 9, representative=0, ranks=(1,)))
    assert [call.process_group for call in record.collectives] == ["tp 0", "dp 0 for 1", "pp 1", "stage 0", "0"]


@pytest.mark.parametrize(("ranks", "known"), [((1, 3), []), ((1,), [1])], ids=["not of its half", "of its half"])
def test_a_rank_whose_groups_are_not_known_has_no_record(ranks: tuple[int, ...], known: list[int]) -> None:
    """Half of a tp group is no axis of the mesh: where the other half's group lies is not known."""
    half = RankRecord(rank=0, collectives=(collective(group="half", group_ranks=(0, 1)),))
    record = RunRecord(
        fakerun_version="0.1.0", torch_version=None, ranks=(half,), assumed=(AssumedRanks(ranks=ranks[-1:], representative=0),), mesh=MESH
    )
    assert [each.rank for each in assumed_records(record)] == known
