"""Ranks that were not simulated get the calls of their representative, on the groups through their own coordinate."""

import pytest

from fakerun.analysis.representatives import Counterparts, assumed_records
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.run import AssumedRanks, GroupCreation, RankRecord, RunRecord
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
    assert [call.process_group for call in record.collectives] == ["tp 0", "dp 0 of assumed ranks 0", "pp 1", "stage 0", "0"]


@pytest.mark.parametrize(("ranks", "known"), [((1, 3), []), ((1,), [1])], ids=["not of its half", "of its half"])
def test_a_rank_whose_groups_are_not_known_has_no_record(ranks: tuple[int, ...], known: list[int]) -> None:
    """Half of a tp group is no axis of the mesh: where the other half's group lies is not known."""
    half = RankRecord(rank=0, collectives=(collective(group="half", group_ranks=(0, 1)),))
    record = RunRecord(
        fakerun_version="0.1.0", torch_version=None, ranks=(half,), assumed=(AssumedRanks(ranks=ranks[-1:], representative=0),), mesh=MESH
    )
    assert [each.rank for each in assumed_records(record)] == known


def third_of(rank: int, *, use: bool = True, all_create: bool = True) -> RankRecord:
    """A rank of a program that makes three groups, of every third rank each, on one line, and uses its own."""
    groups = [tuple(range(first, 15, 3)) for first in range(3)]
    creations = GroupCreation(ranks=sum(groups, ()), count=3, before=0, callers=None if all_create else groups[rank % 3])
    own = groups[rank % 3]
    calls = (collective(group_ranks=own, process_group=f"third {own[0]}"),) if use else ()
    return RankRecord(rank=rank, collectives=calls, group_creations=(creations,))


THIRDS = Mesh.of({"dp": 5, "tp": 3})
NOT_A_BOX = Mesh.of({"node": 3, "local": 5})


def of_thirds(mesh: Mesh, *ranks: int, all_create: bool = True) -> RunRecord:
    assumed = (AssumedRanks(ranks=ranks, representative=0),)
    records = (third_of(0, all_create=all_create), third_of(2, all_create=all_create))
    return RunRecord(fakerun_version="0.1.0", torch_version=None, ranks=records, assumed=assumed, mesh=mesh)


def test_a_group_that_fills_no_box_has_the_counterpart_that_the_same_line_creates() -> None:
    found = {record.rank: record.collectives[0] for record in assumed_records(of_thirds(NOT_A_BOX, 1, 3, 4, 5))}
    assert {rank: call.group_ranks for rank, call in found.items()} == {rank: tuple(range(rank % 3, 15, 3)) for rank in (1, 3, 4, 5)}
    assert found[3].process_group == "third 0"
    assert found[5].process_group == "third 2"
    assert found[1].process_group == found[4].process_group


@pytest.mark.parametrize(("mesh", "known"), [(THIRDS, [1, 3]), (NOT_A_BOX, [3])], ids=["a box", "no box"])
def test_groups_that_only_their_members_create_have_the_counterparts_of_boxes(mesh: Mesh, known: list[int]) -> None:
    run_record = of_thirds(mesh, 1, 3, all_create=False)
    assert [record.rank for record in assumed_records(run_record)] == known
    assert Counterparts(run_record.ranks, mesh).unknown(run_record.assumed) == {1, 3} - set(known)


def test_a_counterpart_that_ranks_do_not_create_is_not_assumed() -> None:
    """Only the first node makes a group of its ranks."""
    creation = GroupCreation(ranks=(0, 1, 2, 3, 4), before=0)
    record = RankRecord(rank=0, collectives=(collective(group_ranks=(0, 1, 2, 3, 4)),), group_creations=(creation,))
    run_record = RunRecord(
        fakerun_version="0.1.0",
        torch_version=None,
        ranks=(record,),
        assumed=(AssumedRanks(ranks=(1, 5), representative=0),),
        mesh=NOT_A_BOX,
    )
    assert [record.rank for record in assumed_records(run_record)] == [1]
    assert Counterparts(run_record.ranks, NOT_A_BOX).unknown(run_record.assumed) == {5}
