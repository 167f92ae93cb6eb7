"""The syntax of a mesh, and the coordinates of ranks on it."""

import pytest

from fakerun.errors import UsageError
from fakerun.job.mesh import MeshSpec, mesh_from_axes, parse_mesh


@pytest.mark.parametrize(
    ("text", "axes", "sizes", "named"),
    [
        ("8", ("dp",), (8,), False),
        ("2x4", ("dp", "tp"), (2, 4), False),
        (" 2 X 4 ", ("dp", "tp"), (2, 4), False),
        ("2x2x2", ("pp", "dp", "tp"), (2, 2, 2), False),
        ("dp=2,tp=4", ("dp", "tp"), (2, 4), True),
        (" dp_replicate = 2 , dp_shard = 4 ", ("dp_replicate", "dp_shard"), (2, 4), True),
        ("pp=1,dp=2,cp=3,tp=4", ("pp", "dp", "cp", "tp"), (1, 2, 3, 4), True),
    ],
)
def test_meshes(text: str, axes: tuple[str, ...], sizes: tuple[int, ...], named: bool) -> None:
    assert parse_mesh(text) == MeshSpec(axes=axes, sizes=sizes, named=named)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mesh '' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"),
        ("2,4", "mesh '2,4' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"),
        ("2x", "mesh '2x' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"),
        ("²x4", "mesh '²x4' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"),
        ("-2x4", "mesh '-2x4' is neither sizes nor named sizes; write 2x4 or dp=2,tp=4"),
        ("0x4", "mesh '0x4' has an axis of size 0; every axis needs at least 1 rank"),
        ("1x2x2x2", "mesh '1x2x2x2' has 4 axes, but only up to 3 have default names; name them, as in pp=2,dp=2,cp=2,tp=2"),
        ("dp=2,tp=0", "mesh 'dp=2,tp=0' has an axis of size 0; every axis needs at least 1 rank"),
        ("dp=2,4", "mesh 'dp=2,4': axis '4' has no size; give every axis a name and a size, as in dp=2,tp=4"),
        ("dp=2,tp=", "mesh 'dp=2,tp=': axis 'tp' has no size; give every axis a name and a size, as in dp=2,tp=4"),
        (
            "dp=two",
            "mesh 'dp=two': axis 'dp' has size 'two', which is not a whole number; give every axis a name and a size, as in dp=2,tp=4",
        ),
        ("d p=2", "mesh 'd p=2': axis name 'd p' is not an identifier; use letters, digits and _, as in dp_shard=4"),
        ("=2", "mesh '=2': axis name '' is not an identifier; use letters, digits and _, as in dp_shard=4"),
        ("dp=2,dp=4", "mesh 'dp=2,dp=4': axis 'dp' is given 2 times; give every axis a name of its own"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_mesh(text)
    assert str(error.value) == message


def test_a_mesh_without_axes_is_refused() -> None:
    with pytest.raises(UsageError, match="has no axes"):
        mesh_from_axes({})


def test_ranks_are_laid_out_in_row_major_order() -> None:
    mesh = mesh_from_axes({"pp": 2, "dp": 3, "tp": 4})
    assert mesh.world_size == 24
    assert mesh.by_axis(mesh.coordinate(0)) == {"pp": 0, "dp": 0, "tp": 0}
    assert mesh.by_axis(mesh.coordinate(5)) == {"pp": 0, "dp": 1, "tp": 1}
    assert list(mesh.by_axis(mesh.coordinate(23))) == ["pp", "dp", "tp"]
    assert mesh.by_axis(mesh.coordinate(23)) == {"pp": 1, "dp": 2, "tp": 3}
    assert str(mesh) == "pp=2,dp=3,tp=4"


def test_a_mesh_is_shown_as_it_was_given() -> None:
    """Names that the user did not give would look as if the script's own names were ignored."""
    assert [str(parse_mesh(text)) for text in ("2x4", "dp=2,tp=4", "a = 8")] == ["2x4", "dp=2,tp=4", "a=8"]
