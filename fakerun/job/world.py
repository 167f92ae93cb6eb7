"""The number of ranks of a job and of its nodes, from the parts that the user gives."""

from dataclasses import dataclass
from math import prod

from fakerun.errors import UsageError
from fakerun.job.mesh import MeshSpec

MAX_RANKS_PER_NODE = 8
"""Ranks on one node if the user gives only their total: common nodes have eight GPUs."""


MAX_RANKS = 2**20
"""More than any cluster has. Above it, tuples of ranks would fill the memory of this machine before the mistake is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`nnodes` machines with `nproc_per_node` ranks each."""

    nnodes: int
    nproc_per_node: int

    @property
    def size(self) -> int:
        return self.nnodes * self.nproc_per_node


def resolve_world(*, world_size: int | None, nnodes: int | None, nproc_per_node: int | None, mesh: MeshSpec | None) -> World:
    """The world with the given parts.

    The total is `world_size`, else `nnodes` times `nproc_per_node`, else the product of the mesh. A missing part follows from the
    total; without a total, `nnodes` and `nproc_per_node` default to 1, as in torchrun. A total alone fills nodes evenly with up to
    `MAX_RANKS_PER_NODE` ranks.

    Raises:
        UsageError: nothing is given, a number is below 1 or too large, or the parts contradict each other.
    """
    for name, number in (("world size", world_size), ("number of nodes", nnodes), ("number of processes per node", nproc_per_node)):
        if number is not None and number < 1:
            raise UsageError(f"{name} {number}: must be at least 1")
    total = total_ranks(world_size=world_size, nnodes=nnodes, nproc_per_node=nproc_per_node, mesh=mesh)
    world = _spread(total, nnodes, nproc_per_node)
    if world.size > MAX_RANKS:
        raise UsageError(f"{world.size} ranks: too many; at most {MAX_RANKS} can be simulated")
    if world_size is not None and world.size != world_size:
        raise UsageError(
            f"{world.nnodes} nodes x {world.nproc_per_node} processes per node = {world.size} ranks, but the world size is {world_size}; "
            "change one of them"
        )
    if mesh is not None and mesh.world_size != world.size:
        raise UsageError(_mesh_mismatch(mesh, world.size))
    return world


def total_ranks(*, world_size: int | None, nnodes: int | None, nproc_per_node: int | None, mesh: MeshSpec | None) -> int | None:
    """The number of ranks that the given parts determine; None if they do not determine it."""
    if world_size is not None:
        return world_size
    if nnodes is not None and nproc_per_node is not None:
        return nnodes * nproc_per_node
    return mesh.world_size if mesh is not None else None


def check_rank(rank: int, world_size: int) -> None:
    """Refuse a rank that the world does not have."""
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} does not exist: a world size of {world_size} has ranks 0 to {world_size - 1}")


def _spread(total: int | None, nnodes: int | None, nproc_per_node: int | None) -> World:
    if nnodes is not None and nproc_per_node is not None:
        return World(nnodes=nnodes, nproc_per_node=nproc_per_node)
    if nproc_per_node is not None:
        nodes = (
            1
            if total is None
            else _share(total, nproc_per_node, f"do not fill nodes of {nproc_per_node} processes; change one of the numbers")
        )
        return World(nnodes=nodes, nproc_per_node=nproc_per_node)
    if nnodes is not None:
        processes = 1 if total is None else _share(total, nnodes, f"cannot be spread evenly over {nnodes} nodes; change one of the numbers")
        return World(nnodes=nnodes, nproc_per_node=processes)
    if total is None:
        raise UsageError(
            "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)"
        )
    per_node = next(n for n in range(min(total, MAX_RANKS_PER_NODE), 0, -1) if total % n == 0)
    return World(nnodes=total // per_node, nproc_per_node=per_node)


def _share(total: int, parts: int, refusal: str) -> int:
    if total % parts:
        raise UsageError(f"{total} ranks {refusal}")
    return total // parts


def _mesh_mismatch(mesh: MeshSpec, world_size: int) -> str:
    sizes = "x".join(map(str, mesh.sizes))
    axes = ", ".join(f"{axis} {size}" for axis, size in zip(mesh.axes, mesh.sizes, strict=True))
    return f"mesh {sizes} ({axes}) has {prod(mesh.sizes)} ranks, but the world size is {world_size}; change one of them"
