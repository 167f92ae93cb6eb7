"""Ranks on a grid: their places, and where a set of them is in a few words."""

import pytest

from fakerun.analysis.grid import Grid

GRID = Grid({"pp": 2, "dp": 4, "tp": 2})


def test_ranks_are_laid_out_in_row_major_order() -> None:
    assert [GRID.place(rank) for rank in (0, 1, 2, 8, 15)] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 3, 1)]
    assert [GRID.rank(GRID.place(rank)) for rank in range(GRID.size)] == list(range(16))


def test_moved_along_some_axes() -> None:
    assert GRID.moved(5, (0, 2), (1, 3, 0)) == GRID.rank((1, 2, 0))


@pytest.mark.parametrize(("ranks", "axes"), [(range(8), (0,)), ((0, 8), (1, 2)), ((3,), (0, 1, 2)), (range(16), ())])
def test_axes_with_one_place(ranks: tuple[int, ...], axes: tuple[int, ...]) -> None:
    assert GRID.axes_with_one_place(ranks) == axes


@pytest.mark.parametrize(
    ("ranks", "box"),
    [
        (range(16), "all"),
        (range(8), "pp=0"),
        ((2, 4, 6), "pp=0, dp=1-3, tp=0"),
        ((1, 3, 5, 7, 9, 11, 13, 15), "tp=1"),
        ((5,), "pp=0, dp=2, tp=1"),
        ((0, 2, 6), "pp=0, dp=0-1,3, tp=0"),
        ((0, 1, 2), "part of pp=0, dp=0-1"),
        (range(15), "part of all"),
    ],
)
def test_box(ranks: tuple[int, ...], box: str) -> None:
    assert GRID.box(ranks) == box
