"""A fake world around a test: the test's process becomes one rank of a simulated job, with a process group, and is recorded.

A thin layer over `fakerun.rank.simulation`, with the environment that the launcher gives a rank. It imports torch only when a world begins,
as pytest loads the plugin in every run.
"""

import functools
import gc
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from fakerun.analysis.memory.footprint import MemoryFootprint, footprint_of
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.errors import UsageError
from fakerun.hardware.catalogue import DEFAULT_HARDWARE
from fakerun.hardware.request import parse_hardware
from fakerun.job.mesh import MeshSpec, mesh_from_axes, parse_mesh
from fakerun.job.ranks import RankChoice
from fakerun.job.request import JobRequest
from fakerun.job.spec import JobSpec
from fakerun.job.steps import ALL_STEPS
from fakerun.launch.environment import worker_environment
from fakerun.patching import Patches
from fakerun.records.collective import CollectiveRecord
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from fakerun.rank.simulation import Simulation

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DEFAULT_WORLD_SIZE = 2
"""The fewest ranks that communicate."""

DEFAULT_BACKEND = "cpu:gloo,cuda:nccl"
"""Supports collectives on host tensors and on device tensors."""


class FakeWorld:
    """The record of a fake world, during it and after its end.

    `rank` is the rank of this process, of `world_size`; `job` is what was asked for. `mesh` is the requested mesh, None if none was
    requested.
    """

    def __init__(self, rank: int, job: JobSpec, simulation: "Simulation") -> None:
        self.rank = rank
        self.world_size = job.world_size
        self.job = job
        self.mesh: DeviceMesh | None = None
        self._simulation = simulation
        self._ended: RankRecord | None = None

    @property
    def collectives(self) -> tuple[CollectiveRecord, ...]:
        """All collectives and p2p calls so far, in order."""
        return tuple(self.record.collectives)

    @property
    def memory(self) -> MemoryFootprint:
        """The memory of this rank so far, on all its devices together: `peak_bytes`, `final_bytes` (now), `alive_at_peak` and more."""
        return footprint_of(timeline_of(self.record.program))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What limits the validity of the rest: placeholder values that were read, APIs that are not emulated."""
        return self.record.findings

    @property
    def record(self) -> RankRecord:
        """Everything that is known of this rank so far."""
        return self._ended or self._simulation.seen()

    def _end(self) -> None:
        self._ended = self._simulation.seen()


_current: list[FakeWorld] = []
"""The world of this process, if it is in one."""


def current_world() -> FakeWorld:
    """The world of the running test: for use in a function that `with_fake_comms` decorates.

    Raises:
        UsageError: no world has begun.
    """
    if not _current:
        raise UsageError("no fake world has begun: use `with with_dist():`, `@with_fake_comms` or the fixture `fake_world`")
    return _current[-1]


@contextmanager
def with_dist(
    rank: int = 0,
    world_size: int | None = None,
    *,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Iterator[FakeWorld]:
    """Make this process rank `rank` of `world_size` simulated ranks until the context ends, without a GPU or other processes.

    Inside, `torch.distributed` is initialised, `cuda` devices are available and torchrun's variables are set. At the end, also after an
    exception, the process group is destroyed and the previous state restored. The `FakeWorld` keeps the record.

    Args:
        rank: The rank of this process.
        world_size: The number of ranks; by default that of the mesh, and 2 without a mesh.
        mesh: A mesh to create at the start: `"2x4"`, `"dp=2,tp=4"` or `{"dp": 2, "tp": 4}`. It is `FakeWorld.mesh`.
        hardware: The accelerators, as for `fakerun --hardware`: `h100-80gb`, `h100-80gb,memory=94GiB`.
        backend: The backend passed to `init_process_group`.

    Raises:
        UsageError: The arguments contradict each other, or the process is already in a simulation or a process group.
    """
    shape = parse_mesh(mesh) if isinstance(mesh, str) else mesh_from_axes(mesh) if mesh is not None else None
    job = _job(rank, world_size, shape, hardware)

    import torch.distributed as dist

    from fakerun.rank.simulation import Simulation

    if dist.is_initialized():
        raise UsageError("this process is in a process group already: call torch.distributed.destroy_process_group() before with_dist()")
    gc.freeze()  # a simulation begins with a garbage collection, which would traverse torch's and pytest's objects each time
    with Simulation(job, rank) as simulation, _environment(worker_environment(job, rank, inherited={}, error_file=Path(os.devnull))):
        world = FakeWorld(rank, job, simulation)
        _current.append(world)
        try:
            dist.init_process_group(backend)
            if shape is not None:
                world.mesh = dist.device_mesh.init_device_mesh("cuda", shape.sizes, mesh_dim_names=shape.axes)
            yield world
        finally:
            world._end()  # noqa: SLF001
            _current.remove(world)


@overload
def with_fake_comms(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]: ...


@overload
def with_fake_comms(
    *,
    rank: int = 0,
    world_size: int | None = None,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]: ...


def with_fake_comms(
    function: Callable[Parameters, Result] | None = None,
    *,
    rank: int = 0,
    world_size: int | None = None,
    mesh: str | Mapping[str, int] | None = None,
    hardware: str = DEFAULT_HARDWARE,
    backend: str = DEFAULT_BACKEND,
) -> Callable[Parameters, Result] | Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function or method: each call runs in its own world, as in `with_dist`; `current_world()` returns it.

    Use it as `@with_fake_comms`, or with the arguments of `with_dist`: `@with_fake_comms(rank=1, world_size=8)`.

    Raises:
        TypeError: The decorated object is not a function, or its body would run after the world's end (async, a generator).
        UsageError: When called, as `with_dist`.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        _check_decorated(function)

        @functools.wraps(function)
        def in_a_world(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with with_dist(rank, world_size, mesh=mesh, hardware=hardware, backend=backend):
                return function(*args, **kwargs)

        return in_a_world

    return decorate if function is None else decorate(function)


def _check_decorated(function: object) -> None:
    if not inspect.isroutine(function):
        raise TypeError(f"with_fake_comms decorates functions, not {function!r}: name its arguments, as in @with_fake_comms(rank=1)")
    for runs_later in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if runs_later(function):
            raise TypeError(f"{function.__qualname__} would run after its world has ended: use `with with_dist():` inside it")


def _job(rank: int, world_size: int | None, mesh: MeshSpec | None, hardware: str) -> JobSpec:
    if world_size is None and mesh is None:
        world_size = DEFAULT_WORLD_SIZE
    request = JobRequest(
        module="test",
        world_size=world_size,
        mesh=mesh,
        hardware=parse_hardware(hardware),
        ranks=RankChoice.of([rank]),
        steps=ALL_STEPS,
    )
    # The job's mesh would replace the meshes that the code under test creates.
    return replace(request.resolve(), mesh=None)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables until the context ends; then restore them."""
    with Patches() as patches:
        for name, value in variables.items():
            patches.set_item(os.environ, name, value)
        yield
