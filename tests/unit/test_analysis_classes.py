"""Ranks with equal records are one class."""

from dataclasses import replace

import pytest

from fakerun.analysis.classes import RankClass, rank_classes
from fakerun.records.collective import CollectiveOp
from fakerun.records.device_program import DeviceProgram, Instruction, Opcode
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import AssumedRanks, FailureKind, ProcessFailure, RankRecord
from tests.unit.records_by_hand import block, collective, llama_8b_rank, program


def simulated(*classes: RankClass) -> list[tuple[int, ...]]:
    return [each.simulated for each in classes]


def test_ranks_that_do_the_same_on_their_own_groups_are_one_class() -> None:
    assert simulated(*rank_classes([llama_8b_rank(rank) for rank in range(8)])) == [tuple(range(8))]


@pytest.mark.parametrize(
    "change",
    [
        {"collectives": (collective(CollectiveOp.BROADCAST),)},
        {"program": program([block(512)], [0])},
        {"steps": 1},
        {"failure": ProcessFailure(kind=FailureKind.EXIT, exception=None, message="it left")},
    ],
    ids=["calls", "memory", "steps", "failure"],
)
def test_one_that_differs_is_a_class_of_its_own(change: dict[str, object]) -> None:
    ranks = [RankRecord(rank=rank, steps=2, collectives=(collective(),)) for rank in range(4)]
    ranks[1] = replace(ranks[1], **change)  # type: ignore[arg-type]
    assert simulated(*rank_classes(ranks)) == [(0, 2, 3), (1,)]


def test_findings_do_not_distinguish_classes() -> None:
    note = Finding(code=FindingCode.UNKNOWN_VALUE, message="the loss was printed")
    assert len(rank_classes([RankRecord(rank=0, findings=(note,)), RankRecord(rank=1)])) == 1


def test_equal_timelines_need_not_be_one_object() -> None:
    assert len(rank_classes([RankRecord(rank=rank, program=DeviceProgram(step_ends=(0,))) for rank in range(3)])) == 1


def test_ranks_that_wait_in_other_places_are_one_class() -> None:
    """Rank 0 reads its loss to log it."""
    memory = program([block(512)], [0, ~0])
    logs = Instruction(Opcode.SYNCHRONIZE_STREAM)
    first = replace(memory, instructions=(*memory.instructions, logs), order=(*memory.order, 2))
    ranks = [RankRecord(rank=0, program=first), *(RankRecord(rank=rank, program=memory) for rank in (1, 2))]
    assert [each.simulated for each in rank_classes(ranks)] == [(0, 1, 2)]


def test_assumed_ranks_are_in_the_class_of_their_representative() -> None:
    ranks = [RankRecord(rank=0, steps=2), RankRecord(rank=4, steps=2), RankRecord(rank=7, steps=1)]
    (first, second) = rank_classes(ranks, [AssumedRanks(ranks=(1, 2, 3), representative=0), AssumedRanks(ranks=(5, 6), representative=4)])
    assert first == RankClass(simulated=(0, 4), assumed=(1, 2, 3, 5, 6))
    assert first.ranks == tuple(range(7))
    assert second == RankClass(simulated=(7,))
