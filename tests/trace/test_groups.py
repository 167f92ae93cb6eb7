"""What groups are called: by mesh axis where there is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.job.hardware import hardware_named
from fakerun.job.mesh import MeshSpec
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation
from fakerun.trace.groups import GroupNames
from tests.in_process import Simulate

Groups = Callable[[], list[dist.ProcessGroup | None]]


def mesh(*sizes: int, names: tuple[str, ...] | None = None) -> Any:
    return torch.distributed.device_mesh.init_device_mesh("cuda", sizes, mesh_dim_names=names)


def default() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl")
    return [None, dist.new_group()]


def axes() -> list[dist.ProcessGroup | None]:
    two = mesh(2, 4, names=("dp", "tp"))
    return [two.get_group("dp"), two.get_group(1), two["tp"].get_group(), None]


def three_axes() -> list[dist.ProcessGroup | None]:
    three = mesh(2, 2, 2, names=("pp", "dp", "tp"))
    return [*three.get_all_groups(), three["dp", "tp"].get_group("dp")]


def axes_of_size_one() -> list[dist.ProcessGroup | None]:
    three = mesh(1, 8, 1, names=("pp", "dp", "tp"))
    return three.get_all_groups()  # type: ignore[no-any-return]


def flattened() -> list[dist.ProcessGroup | None]:
    three = mesh(2, 2, 2, names=("pp", "dp", "cp"))
    return [three["dp", "cp"]._flatten("dp_cp").get_group()]


def unnamed() -> list[dist.ProcessGroup | None]:
    return mesh(2, 4).get_all_groups()  # type: ignore[no-any-return]


def made_like_an_axis() -> list[dist.ProcessGroup | None]:
    mesh(2, 4, names=("dp", "tp"))
    return [dist.new_group([0, 1, 2, 3]), dist.new_group([0, 4]), dist.new_group([0, 4], group_desc="mine")]


def made_like_an_unnamed_axis() -> list[dist.ProcessGroup | None]:
    mesh(2, 4)
    return [dist.new_group([0, 4])]


def of_ones_own() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl", device_id=torch.device("cuda:0"))
    groups = [dist.new_group(ranks) for ranks in ([0, 3], [0], [5, 6])]
    return [*groups[:2], dist.new_group([0, 2], group_desc="experts")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (default, ["world", "world"]),
        (axes, ["dp", "tp", "tp", "world"]),
        (three_axes, ["pp", "dp", "tp", "dp"]),
        (axes_of_size_one, ["pp", "dp", "tp"]),
        (flattened, ["dp_cp"]),
        (unnamed, ["dim_0", "dim_1"]),
        (made_like_an_axis, ["tp", "dp", "dp"]),
        (made_like_an_unnamed_axis, ["dim_0"]),
        (of_ones_own, ["ranks 0,3", "ranks 0", "experts"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names(groups: Groups, names: list[str], simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=8)
    for group in groups():
        dist.all_reduce(torch.ones(1).cuda(), group=group)
    assert [record.group for record in simulation.record(None).collectives] == names


def test_a_script_in_the_jobs_mesh_and_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Axes without names take the job's, and a helper mesh with fewer axes is none of it."""
    asked = MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=True)
    job = JobSpec(module="test", nproc_per_node=8, mesh=asked, hardware=hardware_named("h100-80gb"), steps=1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with Simulation(job, 0) as simulation:
        dist.init_process_group("nccl")
        for group in (*mesh(8, 1).get_all_groups(), mesh(4).get_group()):
            dist.all_reduce(torch.ones(1).cuda(), group=group)
        record = simulation.record(None)
    assert [(call.group, call.group_ranks) for call in record.collectives] == [
        ("dp", (0, 4)),
        ("tp", (0, 1, 2, 3)),
        ("tp", (0, 1, 2, 3)),
    ]
    assert (record.mesh, record.coordinate) == ({"dp": 2, "tp": 4}, {"dp": 0, "tp": 0})


@pytest.mark.parametrize(("rank", "coordinate"), [(0, (0, 0, 0)), (1, (0, 0, 1)), (6, (0, 2, 0)), (23, (1, 3, 2))])
def test_coordinates_are_row_major(rank: int, coordinate: tuple[int, ...]) -> None:
    groups = GroupNames(24)
    groups.add_mesh({"pp": 2, "dp": 4, "tp": 3}, {})
    assert tuple(groups.coordinate(rank).values()) == coordinate
