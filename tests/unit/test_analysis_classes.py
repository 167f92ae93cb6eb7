"""Ranks that do the same are one class; where a class sits on the mesh is told in a few words."""

from dataclasses import replace

import pytest

from fakerun.analysis.classes import RankClass, place_of, rank_classes
from fakerun.records.collective import CollectiveOp
from fakerun.records.finding import Finding, Severity
from fakerun.records.memory import MemoryTimeline
from fakerun.records.run import AssumedRanks, FailureKind, ProcessFailure, RankRecord
from tests.unit.records_by_hand import block, collective, llama_8b_rank, timeline

MESH = {"pp": 2, "dp": 4, "tp": 2}


def simulated(*classes: RankClass) -> list[tuple[int, ...]]:
    return [each.simulated for each in classes]


def test_ranks_that_do_the_same_on_their_own_groups_are_one_class() -> None:
    assert simulated(*rank_classes([llama_8b_rank(rank) for rank in range(8)])) == [tuple(range(8))]


@pytest.mark.parametrize(
    "change",
    [
        {"collectives": (collective(CollectiveOp.BROADCAST),)},
        {"memory": timeline([block(512)], [0])},
        {"steps": 1},
        {"failure": ProcessFailure(kind=FailureKind.EXIT, exception=None, message="it left")},
    ],
    ids=["calls", "memory", "steps", "failure"],
)
def test_one_that_differs_is_a_class_of_its_own(change: dict[str, object]) -> None:
    ranks = [RankRecord(rank=rank, steps=2, collectives=(collective(),)) for rank in range(4)]
    ranks[1] = replace(ranks[1], **change)  # type: ignore[arg-type]
    assert simulated(*rank_classes(ranks)) == [(0, 2, 3), (1,)]


def test_what_fakerun_says_of_a_rank_makes_no_class() -> None:
    note = Finding(code="unknown-value", severity=Severity.NOTE, message="the loss was printed")
    assert len(rank_classes([RankRecord(rank=0, findings=(note,)), RankRecord(rank=1)])) == 1


def test_equal_timelines_need_not_be_one_object() -> None:
    assert len(rank_classes([RankRecord(rank=rank, memory=MemoryTimeline(step_ends=(0,))) for rank in range(3)])) == 1


def test_assumed_ranks_are_of_the_class_of_the_rank_that_they_are_like() -> None:
    ranks = [RankRecord(rank=0, steps=2), RankRecord(rank=4, steps=2), RankRecord(rank=7, steps=1)]
    (first, second) = rank_classes(ranks, [AssumedRanks(ranks=(1, 2, 3), like=0), AssumedRanks(ranks=(5, 6), like=4)])
    assert first == RankClass(simulated=(0, 4), assumed=(1, 2, 3, 5, 6))
    assert first.ranks == tuple(range(7))
    assert second == RankClass(simulated=(7,))


@pytest.mark.parametrize(
    ("ranks", "place"),
    [
        (range(16), "all"),
        (range(8), "pp=0"),
        ((2, 4, 6), "pp=0, dp=1-3, tp=0"),
        ((1, 3, 5, 7, 9, 11, 13, 15), "tp=1"),
        ((5,), "pp=0, dp=2, tp=1"),
        ((0, 2, 6), "pp=0, dp=0-1,3, tp=0"),
        ((0, 3), None),
        ((0, 1, 2), None),
    ],
)
def test_place_on_the_mesh(ranks: tuple[int, ...], place: str | None) -> None:
    assert place_of(ranks, MESH) == place


def test_without_a_mesh_there_is_no_place() -> None:
    assert place_of((0, 1), {}) is None
