"""Gives the script the mesh that the job asks for, and reports the meshes that the script makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import device_mesh as device_mesh_module
from torch.distributed.device_mesh import DeviceMesh

from fakerun.emulate.context import EmulationContext
from fakerun.errors import UsageError
from fakerun.job.mesh import MeshSpec
from fakerun.mesh import Mesh
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import FindingSink
from fakerun.torch_private import CONCATENATE_MESHES, INIT_BACKEND, THREAD_OF_MESH

_threads = count(1)


@contextmanager
def simulated_meshes(context: EmulationContext) -> Iterator[None]:
    """Resize the script's `init_device_mesh` to the job's mesh, and report every mesh to the observer."""
    asked, rank, topology = context.job.mesh, context.rank, context.topology
    original = device_mesh_module.init_device_mesh
    constructed = _Constructed(context)

    def init_device_mesh(device_type: str, mesh_shape: Any, *, mesh_dim_names: tuple[str, ...] | None = None, **more: Any) -> DeviceMesh:
        shape = tuple(mesh_shape)
        if asked is not None:
            shape = _resized(asked, shape, mesh_dim_names, context.findings)
        with constructed.within():
            made = original(device_type, shape, mesh_dim_names=mesh_dim_names, **more)
        unnamed = asked.axes if asked is not None and len(asked.axes) == len(shape) else tuple(f"dim_{i}" for i in range(len(shape)))
        mesh = Mesh(axes=tuple(mesh_dim_names or unnamed), sizes=shape)
        topology.mesh_created(mesh if _is_whole(mesh) else None, mesh.groups(rank))
        return made

    with Patches() as patches:
        patches.set(device_mesh_module, "init_device_mesh", init_device_mesh)
        patches.set(torch.distributed, "init_device_mesh", init_device_mesh)
        patches.set(DeviceMesh, "__init__", constructed.constructor())
        _concatenate_once(patches)
        yield


def _concatenate_once(patches: Patches) -> None:
    """FSDP2 joins its mesh with that of tensor parallelism for each parameter anew (2.13).

    DTensors compare meshes that are not one object rank by rank: of 16,384 ranks that took a tenth of a step.
    """
    concatenate = getattr(DeviceMesh, CONCATENATE_MESHES, None)
    if concatenate is None:
        return
    known: dict[tuple[int, ...], tuple[list[DeviceMesh], DeviceMesh]] = {}

    def concatenate_once(meshes: list[DeviceMesh]) -> DeviceMesh:
        key = tuple(map(id, meshes))
        if key not in known:
            known[key] = list(meshes), concatenate(meshes)  # what has an id is kept, so that nothing else gets it
        return known[key][1]

    patches.set(DeviceMesh, CONCATENATE_MESHES, staticmethod(concatenate_once))


class _Constructed:
    """Meshes that the script makes with `DeviceMesh(...)` or `DeviceMesh.from_group`, from the ranks themselves."""

    def __init__(self, context: EmulationContext) -> None:
        self._asked = context.job.mesh
        self._rank = context.rank
        self._topology = context.topology
        self._findings = context.findings
        self._within = False
        self._threads: dict[int | None, int] = {}

    @contextmanager
    def within(self) -> Iterator[None]:
        """Meshes made meanwhile are parts of one that is known."""
        previous, self._within = self._within, True
        try:
            yield
        finally:
            self._within = previous

    def constructor(self) -> Callable[..., None]:
        """What `DeviceMesh.__init__` is replaced by."""
        original = DeviceMesh.__init__

        def construct(mesh: DeviceMesh, device_type: str, ranks: Any = None, **more: Any) -> None:
            ranks = more.pop("mesh", ranks)
            if ranks is not None and not self._within:
                with self.within():
                    self._construct(original, mesh, device_type, ranks, **more)
            elif ranks is not None:
                original(mesh, device_type, ranks, **more)
            else:  # a part of another mesh
                original(mesh, device_type, **more)
            self._keep_apart(mesh)

        return construct

    def _keep_apart(self, mesh: DeviceMesh) -> None:
        """Make the mesh equal to none of another simulation in this process.

        DTensor remembers placements by mesh (2.11 to 2.15), and with an equal mesh of before it would go back to process groups that
        are gone: "Could not resolve the process group registered under the name 1".
        """
        if hasattr(mesh, THREAD_OF_MESH):
            thread = getattr(mesh, THREAD_OF_MESH)
            if thread not in self._threads:
                self._threads[thread] = next(_threads)
            setattr(mesh, THREAD_OF_MESH, self._threads[thread])

    def _construct(self, original: Callable[..., None], mesh: DeviceMesh, device_type: str, ranks: Any, **more: Any) -> None:
        layout, names = torch.as_tensor(ranks, dtype=torch.int, device="cpu"), more.get("mesh_dim_names")
        whole = torch.equal(layout.flatten(), torch.arange(layout.numel(), dtype=torch.int))
        if self._asked is not None and whole and len(self._asked.sizes) == layout.dim() and more.get(INIT_BACKEND, True):
            shape = _resized(self._asked, tuple(layout.shape), names, self._findings)
            ranks = layout = torch.arange(prod(shape), dtype=torch.int).view(shape)
        original(mesh, device_type, ranks, **more)
        self._tell(layout, tuple(names or (f"dim_{i}" for i in range(layout.dim()))), whole)

    def _tell(self, ranks: torch.Tensor, axes: tuple[str, ...], whole: bool) -> None:
        """Report this rank's group on each axis, and the mesh itself if it holds all ranks of the job in order."""
        groups: dict[str, tuple[int, ...]] = {}
        for position in (ranks == self._rank).nonzero().tolist()[:1]:
            for i, axis in enumerate(axes):
                index = (*position[:i], slice(None), *position[i + 1 :])
                groups[axis] = tuple(ranks[index].tolist())
        mesh = Mesh(axes=axes, sizes=tuple(ranks.shape))
        self._topology.mesh_created(mesh if whole and _is_whole(mesh) else None, groups)


def _resized(asked: MeshSpec, shape: tuple[int, ...], names: tuple[str, ...] | None, findings: FindingSink) -> tuple[int, ...]:
    """The job's sizes for the script's mesh.

    Raises:
        UsageError: the two do not have the same axes.
    """
    own = _show(names, shape)
    if len(shape) == 1 and len(asked.sizes) > 1 and names is None and dist.is_initialized() and shape[0] != dist.get_world_size():
        return shape  # a mesh over part of the job
    if len(asked.sizes) != len(shape):
        raise UsageError(
            f"--mesh {asked} has {len(asked.sizes)} {_axes(len(asked.sizes))}, but the script makes a mesh with {len(shape)}: {own}. "
            f"Give --mesh as many sizes as the script's mesh has, or leave it out to take the script's own."
        )
    if asked.named and names is not None and asked.axes != tuple(names):
        raise UsageError(
            f"--mesh {asked} names the axes {', '.join(asked.axes)}, but the script's mesh is {own}. "
            f"Use the script's names, or give the sizes alone: --mesh {'x'.join(map(str, asked.sizes))}."
        )
    if asked.sizes != shape:
        findings.note(
            FindingCode.MESH_RESIZED,
            f"the script asks for the mesh {own} and gets {_show(names or asked.axes, asked.sizes)}, because of --mesh.",
            hint="Sizes that the script computes itself (batch per rank, heads per rank) may still follow its own mesh.",
        )
    return asked.sizes


def _is_whole(mesh: Mesh) -> bool:
    """Whether the mesh has a place for every rank of the job."""
    return dist.is_initialized() and mesh.world_size == dist.get_world_size()


def _show(names: tuple[str, ...] | None, sizes: tuple[int, ...]) -> str:
    return ",".join(f"{name}={size}" for name, size in zip(names, sizes, strict=True)) if names else "x".join(map(str, sizes))


def _axes(count: int) -> str:
    return "axis" if count == 1 else "axes"
