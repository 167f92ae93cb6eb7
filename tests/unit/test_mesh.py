"""Ranks on a mesh: their coordinates and groups, and the text for a set of ranks."""

import pytest

from fakerun.job.mesh import MeshSpec
from fakerun.mesh import Mesh, mesh_in_effect

MESH = Mesh.of({"pp": 2, "dp": 4, "tp": 2})


def test_ranks_are_laid_out_in_row_major_order() -> None:
    assert [MESH.coordinate(rank) for rank in (0, 1, 2, 8, 15)] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 3, 1)]
    assert [MESH.rank_at(MESH.coordinate(rank)) for rank in range(MESH.world_size)] == list(range(16))


def test_moved_along_some_axes() -> None:
    assert MESH.moved(5, (0, 2), (1, 3, 0)) == MESH.rank_at((1, 2, 0))


@pytest.mark.parametrize(("ranks", "axes"), [(range(8), (0,)), ((0, 8), (1, 2)), ((3,), (0, 1, 2)), (range(16), ())])
def test_constant_axes(ranks: tuple[int, ...], axes: tuple[int, ...]) -> None:
    assert MESH.constant_axes(ranks) == axes


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
    assert MESH.box(ranks) == box


def test_groups_along_each_axis() -> None:
    assert MESH.groups(11) == {"pp": (3, 11), "dp": (9, 11, 13, 15), "tp": (10, 11)}
    assert all(rank in MESH.group(axis, rank) for axis in range(3) for rank in range(16))


def test_text_is_accepted_by_the_command_line() -> None:
    assert str(MESH) == "pp=2,dp=4,tp=2"


ASKED = MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=False)
OWN = Mesh.of({"data": 2, "model": 4})
FLAT = Mesh.of({"world": 8})


@pytest.mark.parametrize(
    ("asked", "made", "mesh"),
    [
        (ASKED, (OWN,), OWN),
        (ASKED, (None, FLAT, OWN), OWN),
        (ASKED, (FLAT,), Mesh.of({"dp": 2, "tp": 4})),
        (ASKED, (), Mesh.of({"dp": 2, "tp": 4})),
        (None, (None, FLAT, OWN), FLAT),
        (None, (None,), None),
    ],
)
def test_the_scripts_own_names_win(asked: MeshSpec | None, made: tuple[Mesh | None, ...], mesh: Mesh | None) -> None:
    assert mesh_in_effect(asked, made) == mesh
