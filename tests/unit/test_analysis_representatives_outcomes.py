"""Ranks for which all tests come out the same, compared with testing each rank by itself."""

import random
from collections.abc import Sequence

import pytest

from fakerun.analysis.representatives import Outcomes, RankColumns
from fakerun.call_site import CallSite
from fakerun.mesh import Mesh
from fakerun.records.rank_function import RankFunction, RankOperation, RankTest
from tests.unit.records_by_hand import constant, is_rank, rank_function

MESH = Mesh.of({"dp": 24, "tp": 8})
RANK = rank_function(RankOperation.RANK)
COMPARISONS = (RankOperation.EQ, RankOperation.NE, RankOperation.LT, RankOperation.LE, RankOperation.GT, RankOperation.GE)


def outcomes(*tests: RankTest, limit: int = 1000) -> Outcomes:
    found = Outcomes(RankColumns(MESH, ranks_per_node=8), MESH.world_size, limit=limit)
    found.add(tests)
    return found


def made(function: RankFunction, line: int = 1) -> RankTest:
    return RankTest(function=function, outcome=0, call_site=CallSite(path="a.py", line=line, function="f"))


def partition(numbers: Sequence[object]) -> set[frozenset[int]]:
    parts: dict[object, set[int]] = {}
    for rank, number in enumerate(numbers):
        parts.setdefault(number, set()).add(rank)
    return {frozenset(part) for part in parts.values()}


def random_operand(rng: random.Random) -> RankFunction:
    leaf = rank_function(rng.choice([RankOperation.RANK, RankOperation.LOCAL_RANK, RankOperation.NODE_RANK]))
    operation = rng.choice([RankOperation.ADD, RankOperation.MOD, RankOperation.FLOORDIV, RankOperation.XOR, None])
    return leaf if operation is None else rank_function(operation, leaf, constant(rng.randrange(1, 9)))


def random_test(rng: random.Random) -> RankFunction:
    operand, number = random_operand(rng), constant(rng.randrange(24))
    kind = rng.randrange(6)
    if kind == 0:
        return rank_function(RankOperation.IN, operand, constants=tuple(rng.sample(range(24), 3)))
    if kind == 1:
        return rank_function(RankOperation.ITEM, operand, constants=tuple(rng.sample(range(24), 3)))
    if kind == 2:
        return rank_function(RankOperation.TRUTH, operand)
    if kind == 3:
        return rank_function(rng.choice(COMPARISONS), operand, random_operand(rng))
    sides = (operand, number) if rng.random() < 0.5 else (number, operand)
    return rank_function(rng.choice(COMPARISONS), *sides)


@pytest.mark.parametrize("seed", range(40))
def test_classes_are_the_ranks_with_equal_outcomes(seed: int) -> None:
    rng = random.Random(seed)
    functions = [random_test(rng) for _ in range(rng.randrange(1, 6))]
    columns = RankColumns(MESH, ranks_per_node=8)
    one_by_one = list(zip(*(columns.of(function) for function in functions), strict=True))
    found = outcomes()
    for function in functions:  # one after the other, as simulated ranks bring them
        found.add([made(function)])
    assert partition(found.numbers) == partition(one_by_one)
    assert found.classes == len(partition(one_by_one))


def test_a_test_is_counted_once() -> None:
    assert outcomes(made(is_rank(3)), made(is_rank(3)), made(is_rank(3), line=2)).tests == 2


def test_too_many_classes_are_merged_by_line() -> None:
    """A loop over all ranks, and a line that singles out one of them."""
    loop = [made(is_rank(rank)) for rank in range(MESH.world_size)]
    found = outcomes(*loop, made(is_rank(77), line=2), limit=64)
    assert found.is_merged
    assert partition(found.numbers) == {frozenset({77}), frozenset(range(MESH.world_size)) - {77}}


def test_a_loop_over_some_ranks_singles_these_out() -> None:
    found = outcomes(*(made(is_rank(rank)) for rank in range(100)), limit=64)
    assert partition(found.numbers) == {frozenset(range(100)), frozenset(range(100, MESH.world_size))}


def test_a_loop_that_shifts_the_rank_is_merged_too() -> None:
    """`for i in range(world): if (rank + i) % world == 0: ...`"""
    world = MESH.world_size
    shifted = [rank_function(RankOperation.MOD, rank_function(RankOperation.ADD, RANK, constant(i)), constant(world)) for i in range(world)]
    found = outcomes(*(made(rank_function(RankOperation.EQ, each, constant(0))) for each in shifted), limit=64)
    assert len(partition(found.numbers)) == 1


def test_comparisons_of_order_stay_apart_when_merged() -> None:
    loop = [made(is_rank(rank)) for rank in range(MESH.world_size)]
    found = outcomes(*loop, made(rank_function(RankOperation.LT, RANK, constant(50))), limit=64)
    assert partition(found.numbers) == {frozenset(range(50)), frozenset(range(50, MESH.world_size))}


def test_members_of_a_group_are_told_from_others() -> None:
    """Ranks that are not in the group have no place in it: what they would do is not that of a member."""
    place = rank_function(RankOperation.GROUP_RANK, constants=(9, 3, 6))
    found = outcomes(made(rank_function(RankOperation.EQ, place, constant(0))))
    assert partition(found.numbers) == {frozenset({9}), frozenset({3, 6}), frozenset(range(MESH.world_size)) - {3, 6, 9}}


def test_outcomes_that_are_not_computed_are_counted() -> None:
    power = rank_function(RankOperation.POW, constant(3), rank_function(RankOperation.MUL, RANK, constant(10**9)))
    found = outcomes(made(rank_function(RankOperation.EQ, power, constant(1))), made(is_rank(3)))
    assert found.not_evaluated == 1
    assert found.classes == 2
