"""The names of groups: the mesh axis if there is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import device_mesh
from torch.distributed.device_mesh import DeviceMesh

from fakerun.hardware.catalogue import hardware_named
from fakerun.job.mesh import MeshSpec
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate, simulation_of

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


def flattened_by_name() -> list[dist.ProcessGroup | None]:
    three = mesh(2, 2, 2, names=("dp", "cp", "tp"))
    flat = three["dp", "cp"]._flatten("fsdp")
    return [flat.get_group(), three["fsdp"].get_group()]


def unflattened() -> list[dist.ProcessGroup | None]:
    one = mesh(8, names=("all",))
    two = one._unflatten(0, (2, 4), ("dp", "tp"))
    return [two["dp"].get_group(), two["tp"].get_group()]


def constructed() -> list[dist.ProcessGroup | None]:
    return [*DeviceMesh("cuda", torch.arange(8).view(2, 4), mesh_dim_names=("dp", "tp")).get_all_groups()]


def constructed_without_names() -> list[dist.ProcessGroup | None]:
    return [*DeviceMesh("cuda", [[0, 1, 2, 3], [4, 5, 6, 7]]).get_all_groups()]


def constructed_over_a_part() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl")
    return [DeviceMesh("cuda", [0, 2], mesh_dim_names=("pair",)).get_group()]


def from_a_group() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl")
    return [DeviceMesh.from_group(dist.new_group([0, 1, 2, 3]), "cuda", mesh_dim_names=("tp",)).get_group()]


def from_groups() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl")
    groups = [dist.new_group([0, 4]), dist.new_group([0, 1, 2, 3])]
    names = ("replicate", "shard")
    return [*DeviceMesh.from_group(groups, "cuda", mesh=torch.arange(8).view(2, 4), mesh_dim_names=names).get_all_groups()]


def subgroups() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl")
    return [dist.new_subgroups(4)[0], dist.new_subgroups_by_enumeration([[0, 2], [1, 3], [4, 6], [5, 7]])[0]]


def split() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("nccl", device_id=torch.device("cuda:0"))
    return [dist.split_group(split_ranks=[[0, 2], [1, 3]]), dist.split_group(split_ranks=[[0, 4]], group_desc="mine")]


def initialised_again() -> list[dist.ProcessGroup | None]:
    dist.init_process_group("gloo")
    dist.destroy_process_group()
    dist.init_process_group("nccl")
    return [None, dist.new_group([0, 1])]


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
        (flattened_by_name, ["fsdp", "fsdp"]),
        (unflattened, ["dp", "tp"]),
        (constructed, ["dp", "tp"]),
        (constructed_without_names, ["dim_0", "dim_1"]),
        (constructed_over_a_part, ["pair"]),
        (from_a_group, ["tp"]),
        (from_groups, ["replicate", "shard"]),
        (subgroups, [None, None]),
        (split, [None, "mine"]),
        (initialised_again, ["world", None]),
        (of_ones_own, [None, None, "experts"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names(groups: Groups, names: list[str | None], simulate: Simulate) -> None:
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
    assert record.mesh == Mesh.of({"dp": 2, "tp": 4})


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [(torch.arange(8).view(2, 4), Mesh.of({"dp": 2, "tp": 4})), (torch.arange(8).view(4, 2).t(), None), (torch.tensor([[0, 1]]), None)],
    ids=["the job's", "in another order", "a part"],
)
def test_the_jobs_mesh_may_be_constructed(ranks: torch.Tensor, expected: Mesh | None, simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=8)
    DeviceMesh("cuda", ranks, mesh_dim_names=("dp", "tp"))
    assert simulation.record(None).mesh == expected


def test_a_split_that_excludes_this_rank_is_none(simulate: Simulate) -> None:
    simulate(nproc_per_node=8)
    dist.init_process_group("nccl", device_id=torch.device("cuda:0"))
    none: tuple[object, ...] = (None, dist.GroupMember.NON_GROUP_MEMBER)  # the latter since 2.15
    assert dist.split_group(split_ranks=[[1, 3]]) in none


def test_a_group_shrinks(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=8)
    dist.init_process_group("nccl", device_id=torch.device("cuda:0"))
    if not hasattr(dist, "shrink_group"):
        pytest.skip("this torch shrinks no groups")
    dist.all_reduce(torch.ones(1).cuda(), group=dist.shrink_group([7]))
    assert [call.group_ranks for call in simulation.record(None).collectives] == [tuple(range(7))]


def test_a_group_without_this_rank(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=8)
    dist.init_process_group("nccl")
    others = dist.new_group([1, 2])
    assert (others, dist.get_rank(others)) == (dist.GroupMember.NON_GROUP_MEMBER, -1)
    with pytest.warns(UserWarning, match="Running all_reduce on global rank 0 which does not belong to the given group"):
        dist.all_reduce(torch.ones(1).cuda(), group=others)
    assert not simulation.record(None).collectives


def test_an_unknown_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with simulation_of(nproc_per_node=8)[0], pytest.raises(KeyError, match=r"Invalid mesh_dim_names .'pp',. specified"):
        mesh(2, 4, names=("dp", "tp"))["pp"]


def test_the_scripts_own_axis_names_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for calls that were made before the script made its mesh."""
    asked = MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=False)
    job = JobSpec(module="test", nproc_per_node=8, mesh=asked, hardware=hardware_named("h100-80gb"), steps=1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with Simulation(job, 0) as simulation:
        dist.init_process_group("nccl")
        dist.all_reduce(torch.ones(1).cuda(), group=dist.new_group([0, 4]))
        made = device_mesh.init_device_mesh("cuda", (2, 4), mesh_dim_names=("data", "model"))
        dist.all_reduce(torch.ones(1).cuda(), group=made["model"].get_group())
        record = simulation.record(None)
    assert [call.group for call in record.collectives] == ["data", "model"]
    assert record.mesh == Mesh.of({"data": 2, "model": 4})
