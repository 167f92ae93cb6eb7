"""Functions of the rank, evaluated for all ranks: the values that Python gives on each of them."""

from itertools import product

import pytest

from fakerun.analysis.representatives.rank_columns import NotEvaluatedError, RankColumns
from fakerun.mesh import Mesh
from fakerun.records.rank_function import RankFunction, RankOperation
from tests.unit.records_by_hand import constant, rank_function

MESH = Mesh.of({"pp": 2, "dp": 3, "tp": 4})
RANK, LOCAL, NODE = (rank_function(each) for each in (RankOperation.RANK, RankOperation.LOCAL_RANK, RankOperation.NODE_RANK))
COLUMNS = RankColumns(MESH, ranks_per_node=4)


def binary(operation: RankOperation, other: float) -> RankFunction:
    return rank_function(operation, RANK, constant(other))


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (RankOperation.ADD, "rank + 3"),
        (RankOperation.SUB, "rank - 3"),
        (RankOperation.MUL, "rank * 3"),
        (RankOperation.TRUEDIV, "rank / 3"),
        (RankOperation.FLOORDIV, "rank // 3"),
        (RankOperation.MOD, "rank % 3"),
        (RankOperation.POW, "rank ** 3"),
        (RankOperation.LSHIFT, "rank << 3"),
        (RankOperation.RSHIFT, "rank >> 3"),
        (RankOperation.AND, "rank & 3"),
        (RankOperation.OR, "rank | 3"),
        (RankOperation.XOR, "rank ^ 3"),
        (RankOperation.EQ, "rank == 3"),
        (RankOperation.NE, "rank != 3"),
        (RankOperation.LT, "rank < 3"),
        (RankOperation.LE, "rank <= 3"),
        (RankOperation.GT, "rank > 3"),
        (RankOperation.GE, "rank >= 3"),
    ],
)
def test_binary_operations(operation: RankOperation, text: str) -> None:
    assert list(COLUMNS.of(binary(operation, 3))) == [eval(text, {"rank": rank}) for rank in range(24)]


def test_every_operation_has_values() -> None:
    """Also the unary ones, and those on constants."""
    for operation in RankOperation:
        operands = (RANK, constant(2))[: 1 if operation in UNARY else 2] if operation not in LEAVES else ()
        column = COLUMNS.of(rank_function(operation, *operands, constants=(3, 5)))
        assert len(column) == 24


LEAVES = {RankOperation.RANK, RankOperation.LOCAL_RANK, RankOperation.NODE_RANK, RankOperation.GROUP_RANK, RankOperation.CONSTANT}
UNARY = {
    RankOperation.NEG,
    RankOperation.ABS,
    RankOperation.INVERT,
    RankOperation.INT,
    RankOperation.TRUTH,
    RankOperation.IN,
    RankOperation.ITEM,
    RankOperation.LOOKUP,
}


def test_leaves() -> None:
    assert list(COLUMNS.of(RANK)) == list(range(24))
    assert COLUMNS.of(LOCAL) == [rank % 4 for rank in range(24)]
    assert COLUMNS.of(NODE) == [rank // 4 for rank in range(24)]


def test_tables() -> None:
    assert COLUMNS.of(rank_function(RankOperation.IN, RANK, constants=(5, 7))) == [rank in {5, 7} for rank in range(24)]
    places = COLUMNS.of(rank_function(RankOperation.ITEM, RANK, constants=(7, 5, 7)))
    assert [(rank, place) for rank, place in enumerate(places) if place != -1] == [(5, 1), (7, 0)]


def test_an_entry_of_a_table() -> None:
    column = COLUMNS.of(rank_function(RankOperation.LOOKUP, binary(RankOperation.SUB, 2), constants=(7, 5, 9)))
    assert column == [5, 9, 7, 5, 9, *[None] * 19]


def test_where_the_program_would_raise_there_is_no_value() -> None:
    column = COLUMNS.of(rank_function(RankOperation.FLOORDIV, constant(24), binary(RankOperation.SUB, 2)))
    assert column[1:5] == [-24, None, 24, 12]
    assert COLUMNS.of(rank_function(RankOperation.ADD, rank_function(RankOperation.FLOORDIV, constant(1), RANK), RANK))[0] is None


@pytest.mark.parametrize("operation", [RankOperation.POW, RankOperation.LSHIFT])
def test_numbers_that_are_too_large_are_not_computed(operation: RankOperation) -> None:
    with pytest.raises(NotEvaluatedError):
        COLUMNS.of(rank_function(operation, constant(3), binary(RankOperation.MUL, 10**9)))


@pytest.mark.parametrize("axes", [subset for subset in product((True, False), repeat=3) if any(subset)])
def test_the_group_rank_is_that_in_the_counterpart(axes: tuple[bool, ...]) -> None:
    """A group of all ranks that rank 6 reaches along some axes has a counterpart through every rank."""
    free = [number for number, is_free in enumerate(axes) if is_free]

    def group(rank: int) -> list[int]:
        return sorted({MESH.moved(other, free, MESH.coordinate(other)) for other in range(24) if same_place(other, rank)})

    def same_place(one: int, other: int) -> bool:
        pairs = zip(MESH.coordinate(one), MESH.coordinate(other), strict=True)
        return all(mine == theirs for number, (mine, theirs) in enumerate(pairs) if number not in free)

    column = COLUMNS.of(rank_function(RankOperation.GROUP_RANK, constants=tuple(group(6))))
    assert list(column) == [group(rank).index(rank) for rank in range(24)]


def test_a_group_that_fills_no_box_has_no_counterpart() -> None:
    column = COLUMNS.of(rank_function(RankOperation.GROUP_RANK, constants=(9, 3, 6)))
    assert {rank: place for rank, place in enumerate(column) if place != -1} == {9: 0, 3: 1, 6: 2}


def test_a_counterpart_that_was_not_created_is_none() -> None:
    columns = RankColumns(MESH, ranks_per_node=4, is_created=lambda members: members[0] in {0, 12, 16, 20})
    column = columns.of(rank_function(RankOperation.GROUP_RANK, constants=(0, 1, 2, 3)))
    assert column == [0, 1, 2, 3] + [-1] * 8 + [0, 1, 2, 3] * 3
